//! A client that does not take its answer is cut: memory and a place are held for it meanwhile.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// Whoever waits for more must have taken …
const LEAST_BYTES: usize = 128 << 10;
/// … so much of it in this time.
const WITHIN: Duration = Duration::from_secs(10);

/// A stream that fails when it cannot be written to fast enough.
pub(super) struct Paced<S> {
    inner: S,
    /// Whether the client lags behind; `until` is then its limit.
    lags: bool,
    until: Pin<Box<Sleep>>,
    /// Taken since it began to lag.
    taken: usize,
}

impl<S> Paced<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, lags: false, until: Box::pin(sleep(WITHIN)), taken: 0 }
    }

    /// What a write came to.
    fn judge(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.taken += bytes;
                self.lags &= self.taken < LEAST_BYTES;
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                if !self.lags {
                    (self.lags, self.taken) = (true, 0);
                    self.until.as_mut().reset(Instant::now() + WITHIN);
                }
                ready!(self.until.as_mut().poll(cx));
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads too slowly")))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bytes);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// Asked for when everything was written: whoever has it all does not lag.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lags = false;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::advance,
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_cut_and_who_waits_for_nothing_is_not() {
        let (ours, mut theirs) = duplex(1024);
        let mut ours = Paced::new(ours);
        ours.write_all(&[0; 1000]).await.unwrap();
        ours.flush().await.unwrap();
        advance(WITHIN * 10).await; // a stream without news
        theirs.read_exact(&mut [0; 1000]).await.unwrap();
        ours.write_all(&[0; 1024]).await.unwrap();
        let begun = Instant::now();
        let error = ours.write_all(&[0; 1024]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= WITHIN && begun.elapsed() < WITHIN * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_a_trickle_is_cut_and_who_takes_enough_is_not() {
        for (every, is_cut) in [(Duration::from_secs(1), true), (Duration::from_millis(1), false)] {
            let (ours, mut theirs) = duplex(1024);
            let reader = tokio::spawn(async move {
                let mut bytes = [0; 1024];
                while theirs.read(&mut bytes).await.is_ok_and(|count| count > 0) {
                    sleep(every).await;
                }
            });
            let mut ours = Paced::new(ours);
            let written = ours.write_all(&vec![0; 1 << 20]).await;
            assert_eq!(written.is_err(), is_cut, "{every:?}");
            drop(ours);
            reader.await.unwrap();
        }
    }
}

//! `/metrics` for Prometheus, in the text format of `OpenMetrics`: how much is recorded, lost, waiting and stored, and what
//! tracing costs. No label has a value that a process can choose.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::error::Failure;
use super::{ApiState, Shared, render};
use crate::domain::HistoryError;

/// What it is made of, so that a scrape needs no request headers.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;
type Seconds = Counter<f64, AtomicU64>;

pub(super) async fn scrape(State(api): Shared) -> Result<Response, Failure> {
    let text = tokio::task::spawn_blocking(move || measure(&api));
    match text.await {
        Ok(Ok(text)) => Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()),
        Ok(Err(error)) => Err(Failure::unavailable(&error)),
        Err(error) => Err(Failure::unavailable(&error)),
    }
}

/// A scrape does not wait for the pipeline: it must say how a server is that has come to a halt.
fn measure(api: &ApiState) -> Result<String, HistoryError> {
    let mut registry = Registry::with_prefix("netspy");
    let tally = api.feed.tally();
    let events = Counters::default();
    for (kind, count) in &tally.events {
        events.get_or_create(&vec![("event", kind.name().to_owned())]).inc_by(*count);
    }
    registry.register("events", "Events recorded or counted since the server began", events);
    let lost = Counters::default();
    for ((place, kind), count) in &tally.losses {
        let labels = vec![("place", place.name().to_owned()), ("event", kind.name().to_owned())];
        lost.get_or_create(&labels).inc_by(*count);
    }
    registry.register("lost_events", "Events lost since the server began, by place and event", lost);
    let failed: Counter = Counter::default();
    failed.inc_by(tally.failed_batches);
    registry.register("failed_batches", "Batches that the store could not write", failed);
    let gauge = |value: u64| {
        let gauge: Gauge = Gauge::default();
        gauge.set(value.try_into().unwrap_or(i64::MAX));
        gauge
    };
    registry.register(
        "queued_batches",
        "Batches that wait to be written, at most 8",
        gauge(api.feed.queued() as u64),
    );
    registry.register("streams", "Clients that follow /api/stream", gauge(api.feed.followers() as u64));
    let size = gauge(api.history.size_bytes()?);
    registry.register_with_unit(
        "store_size",
        "Size of the history on disk, its log not counted",
        Unit::Bytes,
        size,
    );
    let traced = Family::<Labels, Gauge>::default();
    for hook in api.hooks.iter() {
        let labels = vec![("event", hook.event.to_owned()), ("rung", hook.rung.to_owned())];
        traced.get_or_create(&labels).set(render::works(hook).into());
    }
    registry.register("traced", "Whether an event is traced", traced);
    if let Some(costs) = api.programs.costs() {
        let (runs, seconds) = (Counters::default(), Family::<Labels, Seconds>::default());
        for cost in costs {
            let labels = vec![("program", cost.name)];
            runs.get_or_create(&labels).inc_by(cost.runs);
            seconds.get_or_create(&labels).inc_by(Duration::from_nanos(cost.run_ns).as_secs_f64());
        }
        registry.register("program_runs", "Runs of an eBPF program while the kernel counted them", runs);
        let help = "CPU time of an eBPF program while the kernel measured it";
        registry.register_with_unit("program_run", help, Unit::Seconds, seconds);
    }
    let mut text = String::new();
    encode(&mut text, &registry)
        .map_err(|error: fmt::Error| HistoryError(format!("the metrics cannot be written: {error}")))?;
    Ok(text)
}

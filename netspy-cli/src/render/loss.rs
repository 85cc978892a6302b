//! Whether what is above is all there was: the last lines of every answer.

use netspy_api::Lost;

use super::escape;
use super::remark::Remark;

/// What a loss means for numbers.
pub(crate) const COUNTS: &str = "the counts above are too low";
/// What a loss means for a list.
pub(crate) const LIST: &str = "the list above is incomplete";

/// Notes, then the loss. The earlier server does not know what it loses: then nothing is claimed.
pub(crate) fn lines(notes: &[String], lost: Option<&Lost>, meaning: &str) -> Vec<Remark> {
    let notes = notes.iter().map(|note| Remark::Notice(format!("  ! {}", escape::text(note))));
    notes.chain(lost.map(|lost| line(lost, meaning))).collect()
}

fn line(lost: &Lost, meaning: &str) -> Remark {
    let places: Vec<_> =
        lost.by_place.iter().map(|(place, n)| format!("{} {n}", escape::text(place))).collect();
    let places = if places.is_empty() { String::new() } else { format!(" ({})", places.join(", ")) };
    match lost.total {
        0 => Remark::Aside("  Nothing was lost in this window.".to_owned()),
        1 => Remark::Notice(format!("  ! 1 event was lost in this window{places}: {meaning}.")),
        n => Remark::Notice(format!("  ! {n} events were lost in this window{places}: {meaning}.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_told_with_its_place() {
        let lost = |total| Lost { total, by_place: [("ring".to_owned(), total)].into(), ..Lost::default() };
        let notice = |text: &str| Remark::Notice(text.to_owned());
        let nothing = Remark::Aside("  Nothing was lost in this window.".to_owned());
        assert_eq!(lines(&[], Some(&Lost::default()), COUNTS), [nothing]);
        assert_eq!(
            lines(&["Careful.".into()], Some(&lost(12)), COUNTS),
            [
                notice("  ! Careful."),
                notice("  ! 12 events were lost in this window (ring 12): the counts above are too low.")
            ]
        );
        assert_eq!(
            lines(&[], Some(&lost(1)), LIST),
            [notice("  ! 1 event was lost in this window (ring 1): the list above is incomplete.")]
        );
        assert!(lines(&[], None, LIST).is_empty());
    }
}

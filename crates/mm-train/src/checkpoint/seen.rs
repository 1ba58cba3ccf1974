//! What a checkpoint remembers of its data, so that other data are noticed.

use mm_data::{DataSet, Split};
use serde::{Deserialize, Serialize};

/// What tells data sets apart: files that were added, lost or renamed, and other words, but not
/// other pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// The number of records to train on; none where they have no end.
    pub records: Option<u64>,
    /// The number of records that are held out.
    pub held_out: Option<u64>,
    /// The [`DataSet::fingerprint`].
    pub checksum: u32,
}

impl Seen {
    /// Summarizes an open data set.
    pub fn of(data: &DataSet) -> Self {
        Self {
            records: data.len(Split::Train),
            held_out: data.len(Split::HeldOut),
            checksum: data.fingerprint(),
        }
    }

    /// Returns a sentence about how the data are different now, if they are.
    pub fn changed(&self, now: &Self) -> Option<String> {
        let count = |all: Option<u64>| all.map_or("endless".to_owned(), |all| all.to_string());
        let what = if self == now {
            return None;
        } else if self.records != now.records {
            let (saw, found) = (count(self.records), count(now.records));
            format!("{saw} records, found {found}; the order of what follows is another")
        } else if self.held_out != now.held_out {
            let (saw, found) = (count(self.held_out), count(now.held_out));
            format!("{saw} held-out records, found {found}")
        } else {
            "as many records, found other names or words".to_owned()
        };
        Some(format!("the data is not what the checkpoint saw: {what}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_data_are_told_by_their_number_or_else_by_their_checksum() {
        let saw = Seen { records: Some(300), held_out: Some(9), checksum: 1 };
        let told = |now: Seen| saw.changed(&now).unwrap_or_default();
        assert_eq!(told(saw), "");
        assert_eq!(
            told(Seen { records: Some(200), checksum: 2, ..saw }),
            "the data is not what the checkpoint saw: 300 records, found 200; the order of what follows is another"
        );
        let fewer = told(Seen { held_out: Some(8), checksum: 2, ..saw });
        assert!(fewer.ends_with(": 9 held-out records, found 8"), "{fewer}");
        let others = told(Seen { checksum: 2, ..saw });
        assert!(others.ends_with(": as many records, found other names or words"), "{others}");
        let endless = told(Seen { records: None, checksum: 2, ..saw });
        assert!(endless.contains("300 records, found endless"), "{endless}");
    }
}

//! Test inputs: safetensors files with a stretch of them replaced. Whoever reads one gives an error
//! and never panics.

use proptest::prelude::*;

/// What is replaced.
#[derive(Debug, Clone)]
pub(crate) struct Splice {
    at: usize,
    cut: usize,
    put: Vec<u8>,
    /// Whether the header's length is set right again, so that what the header says is looked at.
    mend: bool,
}

/// Any bytes, and those that lists of numbers and names are made of.
pub(crate) fn splices() -> impl Strategy<Value = Splice> {
    let put = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..12),
        "[-0-9eE.,:\"/{}a-zA-Z_ ]{0,24}".prop_map(String::into_bytes),
        Just(b"18446744073709551615".to_vec()),
        Just(b"[]".to_vec()),
    ];
    let parts = (any::<usize>(), 0usize..12, put, any::<bool>());
    parts.prop_map(|(at, cut, put, mend)| Splice { at, cut, put, mend })
}

impl Splice {
    /// A valid file with the splice in the header's length, in the header, or in the first numbers
    /// behind it.
    pub(crate) fn of(&self, whole: &[u8]) -> Vec<u8> {
        let length = u64::from_le_bytes(whole[..8].try_into().expect("eight bytes")) as usize;
        let at = self.at % whole.len().min(length + 16);
        let end = whole.len().min(at + self.cut);
        let mut bytes = [&whole[..at], &self.put, &whole[end..]].concat();
        if self.mend && (8..length + 8).contains(&at) {
            let length = length + self.put.len() - (end.min(length + 8) - at);
            bytes[..8].copy_from_slice(&(length as u64).to_le_bytes());
        }
        bytes
    }
}

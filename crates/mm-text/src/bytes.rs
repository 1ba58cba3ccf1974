//! The alphabet of byte-level BPE: one printable character for each byte, so that a token is a
//! string in any file. The characters are those of GPT-2 (Radford et al. 2019, "Language Models are
//! Unsupervised Multitask Learners", section 2.2).

use std::collections::HashMap;
use std::sync::LazyLock;

/// The character of each byte. Printable Latin-1 stands for itself; the other bytes are U+0100 and
/// on, in their order.
pub(crate) static ALPHABET: LazyLock<[char; 256]> = LazyLock::new(|| {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut next = '\u{100}'..;
    let mut character =
        |byte: u8| if printable(byte) { Some(char::from(byte)) } else { next.next() };
    std::array::from_fn(|byte| character(byte as u8).expect("characters do not run out"))
});

static BYTES: LazyLock<HashMap<char, u8>> =
    LazyLock::new(|| ALPHABET.iter().copied().zip(0u8..=255).collect());

/// Returns the bytes that a token's characters stand for, or `None` where one is not of the
/// alphabet.
pub(crate) fn bytes_of(token: &str) -> Option<Vec<u8>> {
    token.chars().map(|character| BYTES.get(&character).copied()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    use super::*;

    #[test]
    fn the_alphabet_is_that_of_the_pre_tokenizer() {
        let wanted: BTreeSet<char> = ByteLevel::alphabet().into_iter().collect();
        assert_eq!(ALPHABET.iter().copied().collect::<BTreeSet<char>>(), wanted);
        assert_eq!(bytes_of("Ġa\u{fe}Ċ"), Some(vec![b' ', b'a', 0xfe, b'\n']));
        assert_eq!(bytes_of("a b"), None);
    }
}

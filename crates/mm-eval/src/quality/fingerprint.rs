//! A 64-bit hash of what made a result, so that a kept result is used only for the same cause. It guards against mistakes
//! and not against an adversary.

use mm_patch::Image;

/// 64-bit FNV-1a over words of eight bytes, finished as SplitMix64 finishes (Steele, Lea, Flood 2014).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fingerprint(u64);

impl Fingerprint {
    pub(crate) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Takes bytes in, and how many they are.
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self = self.word(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.word(u64::from_le_bytes(last)).word(bytes.len() as u64)
    }

    /// Takes every pixel of every picture in.
    pub(crate) fn images<'a>(self, images: impl Iterator<Item = &'a Image>) -> Self {
        images.fold(self, |hash, image| {
            hash.word(image.width() as u64).word(image.height() as u64).bytes(image.rgb())
        })
    }

    pub(crate) fn finish(self) -> u64 {
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn word(self, word: u64) -> Self {
        // The rotation lets high bits of a word reach low bits of the hash, which a product alone never does.
        Self((self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_order_and_length_all_count() {
        let of = |parts: &[&[u8]]| {
            parts.iter().fold(Fingerprint::new(), |hash, part| hash.bytes(part)).finish()
        };
        let all = [
            of(&[b""]),
            of(&[b"\0"]),
            of(&[b"ab"]),
            of(&[b"ba"]),
            of(&[b"a", b"b"]),
            of(&[b"abcdefgh"]),
            of(&[b"abcdefg\0"]),
            of(&[b"abcdefgi"]),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[at + 1..].contains(one), "{at}");
        }
        assert_eq!(of(&[b"abc"]), of(&[b"abc"]));
    }
}

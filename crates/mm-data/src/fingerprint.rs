//! Whether two hosts see the same data: one number of what a source contains, to be compared before
//! they train together.
//!
//! It is over what opening a source has read anyway: names of files, without the folders they lie
//! in, and the names, places and words of records. Contents are not read again, and times of
//! modification are left out, since copies differ in them.

/// A checksum (CRC-32) that grows by fields, each with its length, so that `ab` and `c` are not `a`
/// and `bc`.
#[derive(Debug, Default)]
pub struct Fingerprint(crc32fast::Hasher);

impl Fingerprint {
    /// Adds bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.add_number(bytes.len() as u64);
        self.0.update(bytes);
    }

    /// Adds a number.
    pub fn add_number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    /// Adds the last component of a path.
    pub fn add_name(&mut self, path: &std::path::Path) {
        self.add(path.file_name().unwrap_or_default().as_encoded_bytes());
    }

    /// Returns the number.
    pub(crate) fn finish(self) -> u32 {
        self.0.finalize()
    }
}

#[cfg(test)]
mod tests {
    use mm_patch::Image;

    use crate::{DataConfig, DataSet, ImageSettings};

    const IMAGE: ImageSettings = ImageSettings { width: 16, height: 16, patch: 8 };

    fn fingerprint(files: &[(&str, &[u8])], config: &str) -> u32 {
        let folder = crate::testing::folder(files);
        let config = config.replace("HERE", &folder.path().display().to_string());
        let config: DataConfig = toml::from_str(&config).unwrap();
        DataSet::open(&config, IMAGE).unwrap().fingerprint()
    }

    #[test]
    fn equal_folders_have_equal_fingerprints_and_another_name_or_caption_is_seen() {
        let png = Image::filled(16, 16, [9; 3]).encode_png();
        let of = |image: &str, text: &str| {
            let [image, caption] = ["png", "txt"].map(|ending| format!("{image}.{ending}"));
            let files: [(&str, &[u8]); 4] =
                [("a.png", &png), ("a.txt", b"a"), (&image, &png), (&caption, text.as_bytes())];
            fingerprint(&files, "source = 'folder'\npath = 'HERE'")
        };
        assert_eq!(of("b", "words"), of("b", "words"));
        assert_ne!(of("b", "words"), of("b", "other"));
        assert_ne!(of("b", "words"), of("c", "words"));
    }

    #[test]
    fn a_document_that_one_host_lacks_is_seen() {
        let of = |text: &str| {
            fingerprint(&[("a.txt", text.as_bytes())], "source = 'documents'\nfiles = ['HERE']")
        };
        assert_eq!(of("one two"), of("one two"));
        assert_ne!(of("one two"), of("one two three"));
    }
}

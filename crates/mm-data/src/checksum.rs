//! Whether two hosts see the same data: one number of what a source holds, to be compared before they train together.
//!
//! It is over what opening a source has read anyway: names of files, without the folders they lie in, and the names, places and
//! words of records. Contents are not read again, and times of modification are left out, since copies differ in them.

use super::{DataSet, Split};

/// A checksum that grows by fields, each with its length, so that `ab` and `c` are not `a` and `bc`.
#[derive(Default)]
pub(crate) struct Checksum(crc32fast::Hasher);

impl Checksum {
    /// Adds bytes.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.add_number(bytes.len() as u64);
        self.0.update(bytes);
    }

    /// Adds a number.
    pub(crate) fn add_number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    /// Adds the last part of a path.
    pub(crate) fn add_name(&mut self, path: &std::path::Path) {
        self.add(path.file_name().unwrap_or_default().as_encoded_bytes());
    }
}

impl DataSet {
    /// One number of what the source holds, the same wherever its files lie.
    pub fn checksum(&self) -> u32 {
        let mut sum = Checksum::default();
        self.add_to(&mut sum);
        sum.0.finalize()
    }

    fn add_to(&self, sum: &mut Checksum) {
        for split in Split::ALL {
            sum.add_number(self.len(split).unwrap_or(u64::MAX));
        }
        match self {
            Self::Glyphs(_) | Self::Emoji(_) => {} // made of nothing but the recipe
            Self::Folder(folder) => folder.add_to(sum),
            Self::Webdataset(shards) => shards.add_to(sum),
            Self::Parquet(table) => table.add_to(sum),
            Self::Documents(documents) => documents.add_to(sum),
            Self::Mixture(mixture) => {
                mixture.parts().iter().for_each(|(_, data)| data.add_to(sum));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mm_patch::Image;

    use crate::{DataConfig, DataSet, ImageSettings};

    const IMAGE: ImageSettings = ImageSettings { width: 16, height: 16, patch: 8 };

    fn checksum(files: &[(&str, &[u8])], config: &str) -> u32 {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs_err::write(folder.path().join(name), bytes).unwrap();
        }
        let config = config.replace("HERE", &folder.path().display().to_string());
        let config: DataConfig = toml::from_str(&config).unwrap();
        DataSet::open(&config, IMAGE).unwrap().checksum()
    }

    #[test]
    fn equal_folders_have_equal_checksums_and_another_name_or_caption_is_seen() {
        let png = Image::filled(16, 16, [9; 3]).encode_png();
        let of = |picture: &str, text: &str| {
            let [picture, caption] = ["png", "txt"].map(|ending| format!("{picture}.{ending}"));
            let files: [(&str, &[u8]); 4] =
                [("a.png", &png), ("a.txt", b"a"), (&picture, &png), (&caption, text.as_bytes())];
            checksum(&files, "source = 'folder'\npath = 'HERE'")
        };
        assert_eq!(of("b", "words"), of("b", "words"));
        assert_ne!(of("b", "words"), of("b", "other"));
        assert_ne!(of("b", "words"), of("c", "words"));
    }

    #[test]
    fn a_document_that_one_host_lacks_is_seen() {
        let of = |text: &str| {
            checksum(&[("a.txt", text.as_bytes())], "source = 'documents'\nfiles = ['HERE']")
        };
        assert_eq!(of("one two"), of("one two"));
        assert_ne!(of("one two"), of("one two three"));
    }
}

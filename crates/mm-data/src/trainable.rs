//! Whether a run can train on a source, told before the run has a folder.

use super::{DataError, DataSet, Split};

impl DataSet {
    /// Whether a run can train on it: it has a training part, as every source of a mixture must, and where `vocab` is 0 its
    /// documents are pictures alone.
    pub fn check_trainable(&self, vocab: usize) -> Result<(), DataError> {
        let source_name = match self {
            Self::Mixture(mixture) => {
                return mixture.parts().iter().try_for_each(|(_, one)| one.check_trainable(vocab));
            }
            Self::Glyphs(_) => "glyphs",
            Self::Emoji(_) => "emoji",
            Self::Folder(_) => "folder",
            Self::Webdataset(_) => "webdataset",
            Self::Parquet(_) => "parquet",
            Self::Documents(_) => "documents",
        };
        match self {
            _ if self.len(Split::Train) == Some(0) => {
                Err(DataError::EmptySplit { split: Split::Train.name(), source_name })
            }
            Self::Documents(documents) if vocab == 0 => documents.check_image_only(),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::hash_bytes;
    use crate::{
        DataConfig, DocumentsConfig, EmojiConfig, ImageSettings, MixtureConfig, PartConfig,
    };

    const SETTINGS: ImageSettings = ImageSettings { width: 32, height: 16, patch: 8 };

    #[test]
    fn what_a_run_cannot_train_on_is_told_before_its_first_step() {
        let folder = tempfile::tempdir().unwrap();
        let why = |text: &str, vocab| {
            fs_err::write(folder.path().join("a.jsonl"), text).unwrap();
            let files = vec![folder.path().display().to_string()];
            let emoji = DataConfig::Emoji(EmojiConfig::default());
            let parts = [emoji, DataConfig::Documents(DocumentsConfig::of(files))].map(|data| {
                PartConfig { weight: 1.0, direction: None, caption_drop: None, flip: false, data }
            });
            let config = DataConfig::Mixture(MixtureConfig { parts: parts.to_vec() });
            let data = DataSet::open(&config, SETTINGS).unwrap();
            data.check_trainable(vocab).map_err(|why| why.to_string())
        };
        let line = |at: u32| serde_json::json!({ "text": at.to_string() }).to_string();
        let of = |line: &String| Split::of_hash(hash_bytes(line.as_bytes()));
        let held_out = (0..).map(line).find(|line| of(line) == Split::HeldOut).unwrap();
        let text = (0..).map(line).find(|line| of(line) == Split::Train).unwrap();
        let image = |at: u32| format!(r#"{{"segments": [{{"image": "{at}.png"}}]}}"#);
        let image = (0..).map(image).find(|line| of(line) == Split::Train).unwrap();
        let empty = "the train part of the documents data set is empty";
        assert_eq!(why(&held_out, 416).unwrap_err(), empty);
        assert_eq!((why(&text, 416), why(&image, 0)), (Ok(()), Ok(())));
        let wordy = why(&format!("{image}\n{text}"), 0).unwrap_err();
        let wanted =
            format!("a.jsonl`: the document at byte {} is not one picture", image.len() + 1);
        assert!(wordy.contains(&wanted), "{wordy}");
    }
}

//! [`NetworkSettings`]: what an ONNX file does not say.
//!
//! The file says what its input looks like, but not what its numbers mean: how bytes are scaled, and which output to take.
//! That is said in a TOML file beside it, or by flags.

use serde::{Deserialize, Serialize};

use super::QualityError;

/// In which order the network takes the numbers of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// `[batch, colors, height, width]`
    Nchw,
    /// `[batch, height, width, colors]`
    Nhwc,
}

/// What an ONNX file does not say, or not always. A byte `b` becomes `(b - mean) / scale`.
///
/// ```
/// use mm_eval::quality::NetworkSettings;
///
/// let text = "size = [224, 224]\nmean = [127, 127, 127]\nscale = [128, 128, 128]\noutput = 'feat'";
/// assert_eq!(NetworkSettings::from_toml(text)?.size, Some([224, 224]));
/// assert!(NetworkSettings::from_toml("sise = [224, 224]").is_err());
/// # Ok::<(), mm_eval::quality::QualityError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkSettings {
    /// Width and height of the input; those the file declares if absent.
    pub size: Option<[usize; 2]>,
    /// Of red, green and blue; 127.5 if absent.
    pub mean: Option<[f32; 3]>,
    /// Of red, green and blue; 127.5 if absent.
    pub scale: Option<[f32; 3]>,
    /// Order of the input; where the file has its three colours if absent.
    pub layout: Option<Layout>,
    /// Name of the output to take; the first if absent.
    pub output: Option<String>,
}

impl NetworkSettings {
    /// Reads the text of the TOML file beside a network.
    pub fn from_toml(text: &str) -> Result<Self, QualityError> {
        toml::from_str(text).map_err(|why| QualityError::Toml(Box::new(why)))
    }

    /// These settings where they are given, `other`'s elsewhere.
    pub fn or(self, other: Self) -> Self {
        Self {
            size: self.size.or(other.size),
            mean: self.mean.or(other.mean),
            scale: self.scale.or(other.scale),
            layout: self.layout.or(other.layout),
            output: self.output.or(other.output),
        }
    }
}

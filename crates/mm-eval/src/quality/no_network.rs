//! [`FeatureNetwork`] of a build without the feature `onnx`: it cannot be made, and says why.

use std::convert::Infallible;

use mm_patch::Image;

use super::{Features, NetworkSettings, QualityError};

/// A network that makes features of pictures.
#[derive(Debug)]
pub struct FeatureNetwork(Infallible);

impl FeatureNetwork {
    /// Fails: networks are read by `tract`, which was left out.
    pub fn load(_: &[u8], _: &NetworkSettings) -> Result<Self, QualityError> {
        Err(QualityError::NoReader)
    }

    /// Features of a picture.
    pub fn dim(&self) -> usize {
        match self.0 {}
    }

    /// A hash of the network, its settings and the pictures.
    pub fn made_by(&self, _: &[Image]) -> u64 {
        match self.0 {}
    }

    /// Features of every picture.
    pub fn features(&self, _: &[Image]) -> Result<Features, QualityError> {
        match self.0 {}
    }
}

//! Model folders that hold a codec: images to codes or latents, and back.

use burn::prelude::*;
use mm_codec::{CellGrid, Codec, CodecError, ImageCodec, QueriesConfig};
use mm_patch::{Grid, Image, image_to_patches, patchify, unpatchify};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use crate::generate::images_of;
use crate::{FileError, GenerateError, LoadedModel};

/// An image as the codes of a codec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeImage {
    /// Rows of cells.
    pub rows: usize,
    /// Columns of cells.
    pub cols: usize,
    /// The number of codes of the codec.
    pub vocabulary: usize,
    /// The codes, in reading order.
    pub codes: Vec<u32>,
}

/// An image as the latents of a codec: the means of its Gaussians.
#[derive(Debug, Clone, PartialEq)]
pub struct LatentImage {
    /// Channels, rows and columns.
    pub shape: [usize; 3],
    /// The numbers, last axis fastest.
    pub values: Vec<f32>,
}

/// The name of the tensor in a file of latents.
const LATENTS: &str = "latents";

impl LatentImage {
    /// Writes a safetensors file of one tensor, `latents`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes: Vec<u8> = self.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F32, self.shape.to_vec(), &bytes)
            .expect("shape and values agree");
        safetensors::serialize([(LATENTS, view)], None).expect("one tensor can be written")
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FileError> {
        let file = SafeTensors::deserialize(bytes)
            .map_err(|why| FileError::malformed("safetensors", &why))?;
        let missing = || FileError::Missing { name: LATENTS.to_owned(), wanted: vec![] };
        let view = file.tensor(LATENTS).map_err(|_| missing())?;
        let name = LATENTS.to_owned();
        if view.dtype() != Dtype::F32 {
            return Err(FileError::Type { name, found: format!("{:?}", view.dtype()) });
        }
        let Ok(shape) = <[usize; 3]>::try_from(view.shape()) else {
            let (found, wanted) = (view.shape().to_vec(), vec![0; 3]);
            return Err(FileError::Shape { name, found, wanted });
        };
        let values = view.data().as_chunks().0.iter().map(|four| f32::from_le_bytes(*four));
        Ok(Self { shape, values: values.collect() })
    }
}

impl LoadedModel {
    /// Returns the codec of the folder, or the error that it has none.
    pub fn codec(&self) -> Result<&Codec, GenerateError> {
        self.model.codec().ok_or(GenerateError::NoCodec)
    }

    /// Encodes images and decodes them again, one after another.
    pub fn reconstruct(&self, images: &[Image]) -> Result<Vec<Image>, GenerateError> {
        let codec = self.codec()?;
        let one = |image: &Image| {
            let pixels = pixels_of(codec, image)?;
            image_of(codec.decode(codec.encode(pixels)))
        };
        images.iter().map(one).collect()
    }

    /// Encodes an image to codes. A codec of latents has none.
    pub fn codes(&self, image: &Image) -> Result<CodeImage, GenerateError> {
        let Codec::Codes(codec) = self.codec()? else { return Err(GenerateError::NoCodes) };
        let pixels = pixels_of(self.codec()?, image)?;
        let CellGrid { rows, cols, .. } = self.codec()?.grid(image.height(), image.width())?;
        let codes = codec.codes(pixels).into_data().convert::<i64>();
        let codes = codes.try_to_vec::<i64>().expect("codes are whole numbers");
        let codes = codes.into_iter().map(|code| code as u32).collect();
        Ok(CodeImage { rows, cols, vocabulary: codec.config().codes(), codes })
    }

    /// Decodes codes to an image. Codes of another codec, and those that do not fill their rows and
    /// columns, are named.
    pub fn image_of_codes(&self, image: &CodeImage) -> Result<Image, GenerateError> {
        let Codec::Codes(codec) = self.codec()? else { return Err(GenerateError::NoCodes) };
        let CodeImage { rows, cols, vocabulary, codes } = image;
        let (rows, cols) = (*rows, *cols);
        let config = codec.config();
        CodecError::vocabulary(*vocabulary, config.codes())?;
        let grid =
            CellGrid { rows, cols, channels: config.channels(), codes: Some(config.codes()) };
        grid.check(codes)?;
        if let Some(QueriesConfig { count, .. }) = config.queries
            && [rows, cols] != [1, count]
        {
            let (found, wanted) = (codes.len(), count);
            return Err(CodecError::Count { found, wanted, rows: 1, cols: count }.into());
        }
        let ids: Vec<i32> = codes.iter().map(|code| *code as i32).collect();
        let ids = Tensor::from_data(TensorData::new(ids, [1, codes.len()]), &codec.device());
        image_of(codec.images(ids, [rows, cols]))
    }

    /// Encodes an image to the means of its latents. A codec of codes has none.
    pub fn latents(&self, image: &Image) -> Result<LatentImage, GenerateError> {
        let Codec::Kl(codec) = self.codec()? else { return Err(GenerateError::NoLatents) };
        let mean = codec.encode(pixels_of(self.codec()?, image)?).mean;
        let [_, channels, rows, cols] = mean.dims();
        let values = mean.into_data().try_to_vec_as::<f32>().expect("activations are floats");
        Ok(LatentImage { shape: [channels, rows, cols], values })
    }

    /// Decodes latents to an image; those of another number of channels are named.
    pub fn image_of_latents(&self, latents: &LatentImage) -> Result<Image, GenerateError> {
        let Codec::Kl(codec) = self.codec()? else { return Err(GenerateError::NoLatents) };
        let [channels, rows, cols] = latents.shape;
        CodecError::channels(channels, codec.config().latent_channels)?;
        let data = TensorData::new(latents.values.clone(), [1, channels, rows, cols]);
        image_of(codec.decode(Tensor::from_data(data, &codec.device())))
    }
}

/// Puts an image on the device of a codec, `[1, 3, height, width]`; it must be of whole cells.
fn pixels_of(codec: &Codec, image: &Image) -> Result<Tensor<4>, CodecError> {
    let (width, height) = (image.width(), image.height());
    codec.grid(height, width)?;
    let grid = Grid::new(height, width, 1);
    let patches = image_to_patches(image, grid).expect("every image is of whole pixels");
    let shape = [1, grid.tokens(), grid.patch_dim()];
    let patches = Tensor::from_data(TensorData::new(patches, shape), &codec.device());
    Ok(unpatchify(patches, grid))
}

/// Rounds `[1, 3, height, width]` to an image; numbers that are not finite are an error.
fn image_of(pixels: Tensor<4>) -> Result<Image, GenerateError> {
    let [_, _, height, width] = pixels.dims();
    let grid = Grid::new(height, width, 1);
    Ok(images_of(patchify(pixels, grid), grid)?.remove(0))
}

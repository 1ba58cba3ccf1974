//! Numbers on their way from the device to the host.
//!
//! A browser cannot wait for its graphics device: whoever asks has to return first. So all that
//! reads is an `async fn` here, of which there is one each; what it is called without `async` waits
//! for it with [`read_sync`](burn::tensor::read_sync). In a browser that works on the processor
//! alone, where nothing is ever waited for.
//!
//! What no browser asks for has no such form: the folders of codecs, and the edits that look at
//! numbers between two steps ([`Restore`](crate::Restore), noise on the way between two images).

use burn::prelude::*;

use crate::GenerateError;

/// Copies the numbers of a tensor `[…]` to the host, the last axis fastest. The first poll hands
/// the copy to the device; what is asked of the device later comes after it.
pub async fn numbers_of<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, GenerateError> {
    let data = tensor.into_data_async().await;
    let data = data.map_err(|why| GenerateError::Device(why.to_string()))?;
    Ok(data.try_to_vec_as::<f32>().expect("activations are floats"))
}

/// Does what [`numbers_of`] does for logits `[rows, vocab]`, one list a row. Logits that are not
/// finite are an error.
pub(super) async fn logits_of(tensor: Tensor<2>) -> Result<Vec<Vec<f32>>, GenerateError> {
    let [_, width] = tensor.dims();
    let numbers = numbers_of(tensor).await?;
    if let Some(&found) = numbers.iter().find(|logit| !logit.is_finite()) {
        return Err(GenerateError::NotFiniteLogits { found });
    }
    Ok(numbers.chunks(width).map(<[f32]>::to_vec).collect())
}

#[cfg(test)]
mod tests {
    use burn::tensor::read_sync;

    use super::*;

    #[test]
    fn logits_come_row_by_row_and_have_to_be_finite() {
        let logits = |numbers: [f32; 4]| {
            let data = TensorData::new(numbers.to_vec(), [2, 2]);
            read_sync(logits_of(Tensor::from_data(data, &Device::flex())))
        };
        assert_eq!(logits([1.0, 2.0, 3.0, 4.0]).unwrap(), [[1.0, 2.0], [3.0, 4.0]]);
        let why = logits([1.0, f32::NAN, 3.0, 4.0]).unwrap_err();
        assert!(matches!(why, GenerateError::NotFiniteLogits { found } if found.is_nan()));
    }
}

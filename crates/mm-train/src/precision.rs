//! Whether a device calculates in the type that a recipe asks for.

use burn::prelude::*;
use burn::tensor::FloatDType;
use mm_backbone::Precision;

use crate::TrainError;

/// An error that names the device, unless it calculates in the type. Every device does in 32-bit floats.
pub(crate) fn check(precision: Precision, device: &Device) -> Result<(), TrainError> {
    let able = |kind: FloatDType| device.supports_dtype(kind);
    check_device(precision, &format!("{device:?}"), &able)
}

fn check_device(
    precision: Precision,
    device: &str,
    able: &dyn Fn(FloatDType) -> bool,
) -> Result<(), TrainError> {
    if precision == Precision::F32 || able(precision.dtype()) {
        return Ok(());
    }
    Err(TrainError::Precision { device: device.to_owned(), wanted: precision.name() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_the_type_is_refused_by_name() {
        let said = |precision, able: &dyn Fn(FloatDType) -> bool| {
            check_device(precision, "Device<Toaster(0)>", able).map_err(|why| why.to_string())
        };
        let message =
            "`Device<Toaster(0)>` does not calculate in bf16, which `run.precision` asks for";
        assert_eq!(said(Precision::Bf16, &|_| false), Err(message.to_owned()));
        assert_eq!(said(Precision::Bf16, &|kind| kind == FloatDType::BF16), Ok(()));
        assert_eq!(said(Precision::F32, &|_| false), Ok(()));
        assert!(check(Precision::Bf16, &Device::flex()).is_ok());
    }
}

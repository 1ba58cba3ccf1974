//! How one weight of ours is made from published tensors.

use std::fmt;

use burn::tensor::{bf16, f16};
use safetensors::tensor::Dtype;

use super::{ImportError, Tensors};
use crate::hf::WeightType;

/// A weight of ours, and the tensors that it is made from.
#[derive(Debug)]
pub struct WeightPlan {
    /// Our name.
    pub name: String,
    /// Our shape.
    pub shape: Vec<usize>,
    /// The published tensors, in the order in which `arrange` takes them.
    pub from: Vec<Origin>,
    /// What is done with their numbers.
    pub arrange: Arrange,
}

/// A published tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Which of the source's sets of tensors holds it.
    pub set: usize,
    /// Its name there.
    pub name: String,
    /// The shape that it must have.
    pub shape: Vec<usize>,
}

/// Says which number comes from where: given an index of ours, the index of theirs.
pub type Index = Box<dyn Fn(usize) -> usize + Send + Sync>;
/// Computes the numbers of a weight from those of its tensors.
pub type Compute = Box<dyn Fn(Vec<Vec<f32>>) -> Vec<f32> + Send + Sync>;

/// What is done with the numbers of the published tensors.
pub enum Arrange {
    /// They are taken as they are, one tensor behind the other.
    Same,
    /// The rows of a matrix become columns: `torch.nn.Linear` keeps `[outputs, inputs]`.
    Transposed,
    /// Our number `i` is number `index(i)` of all tensors, one behind the other.
    Gather(Index),
    /// They are computed with in 32-bit floats.
    Compute(Compute),
}

impl fmt::Debug for Arrange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Same => "Same",
            Self::Transposed => "Transposed",
            Self::Gather(_) => "Gather",
            Self::Compute(_) => "Compute",
        })
    }
}

impl Origin {
    /// Names a tensor of the only set of a source.
    pub fn new(name: impl Into<String>, shape: &[usize]) -> Self {
        Self { set: 0, name: name.into(), shape: shape.to_vec() }
    }

    /// Compares the tensor with what is wanted of it.
    pub(super) fn check(&self, set: &dyn Tensors) -> Result<(), ImportError> {
        let wrong = |found: String| {
            let (path, name) = (set.home().to_owned(), self.name.clone());
            let wanted = format!("{:?}", self.shape);
            Err(ImportError::Tensor { path, name, found, wanted })
        };
        match (set.shape(&self.name), set.dtype(&self.name)) {
            (Some(shape), _) if shape != self.shape => wrong(format!("{shape:?}")),
            (Some(_), Some(Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64)) => Ok(()),
            (Some(_), Some(dtype)) => {
                wrong(format!("of type {dtype:?}, which is none of F32, F16, BF16 and F64"))
            }
            _ => wrong("missing".to_owned()),
        }
    }

    /// Fails with the first number of `bytes` that is not finite. `value` says what that number was
    /// before it was rounded to `dtype`.
    fn check_finite(
        &self,
        set: &dyn Tensors,
        dtype: Dtype,
        bytes: &[u8],
        value: impl Fn(usize) -> f32,
    ) -> Result<(), ImportError> {
        let Some(at) = first_not_finite(dtype, bytes) else { return Ok(()) };
        let number = value(at);
        let wanted = if number.is_finite() {
            format!("numbers that {dtype:?} holds")
        } else {
            "finite numbers".to_owned()
        };
        let (path, name) = (set.home().to_owned(), self.name.clone());
        Err(ImportError::Tensor { path, name, found: format!("{number} at number {at}"), wanted })
    }
}

impl WeightPlan {
    /// Plans a weight that is one published tensor as it is, `[…]`.
    pub fn same(name: impl Into<String>, theirs: impl Into<String>, shape: &[usize]) -> Self {
        Self {
            name: name.into(),
            shape: shape.to_vec(),
            from: vec![Origin::new(theirs, shape)],
            arrange: Arrange::Same,
        }
    }

    /// Plans the weight `[inputs, outputs]` of a linear map that is published as
    /// `[outputs, inputs]`.
    pub fn linear(
        name: impl Into<String>,
        theirs: impl Into<String>,
        inputs: usize,
        outputs: usize,
    ) -> Self {
        Self {
            name: name.into(),
            shape: vec![inputs, outputs],
            from: vec![Origin::new(theirs, &[outputs, inputs])],
            arrange: Arrange::Transposed,
        }
    }

    /// Compares the published tensors with what is wanted of them.
    pub fn check(&self, sets: &[Box<dyn Tensors>]) -> Result<(), ImportError> {
        self.from.iter().try_for_each(|origin| origin.check(&*sets[origin.set]))
    }

    /// Moves all origins to another set of the source.
    #[must_use]
    pub fn in_set(mut self, set: usize) -> Self {
        self.from.iter_mut().for_each(|origin| origin.set = set);
        self
    }

    /// Makes the numbers as 32-bit floats.
    pub fn values(&self, sets: &mut [Box<dyn Tensors>]) -> Result<Vec<f32>, ImportError> {
        let (dtype, bytes) = self.stored(sets)?;
        Ok(floats(dtype, &bytes))
    }

    /// Returns the type in which the weight is kept: that of its first tensor, and F32 for F64.
    pub fn dtype(&self, sets: &[Box<dyn Tensors>]) -> Dtype {
        let first = self.from.first();
        match first.and_then(|origin| sets[origin.set].dtype(&origin.name)) {
            Some(dtype @ (Dtype::F16 | Dtype::BF16)) => dtype,
            _ => Dtype::F32,
        }
    }

    /// Makes the bytes of the weight in a type.
    pub fn bytes(
        &self,
        sets: &mut [Box<dyn Tensors>],
        wanted: Option<WeightType>,
    ) -> Result<Vec<u8>, ImportError> {
        let (dtype, bytes) = self.stored(sets)?;
        match (wanted, self.from.first()) {
            (Some(wanted), Some(first)) if wanted.stored() != dtype => {
                let values = floats(dtype, &bytes);
                let made = wanted.write(&values);
                first.check_finite(&*sets[first.set], wanted.stored(), &made, |at| values[at])?;
                Ok(made)
            }
            _ => Ok(bytes),
        }
    }

    /// Makes the bytes of the weight in the type in which it is [kept](Self::dtype).
    fn stored(&self, sets: &mut [Box<dyn Tensors>]) -> Result<(Dtype, Vec<u8>), ImportError> {
        let dtype = self.dtype(sets);
        let mut tensors = Vec::with_capacity(self.from.len());
        for origin in &self.from {
            let set = &mut sets[origin.set];
            let found = set.dtype(&origin.name).unwrap_or(Dtype::F32);
            let bytes = set.read(&origin.name)?;
            origin.check_finite(&**set, found, &bytes, |at| floats(found, &bytes)[at])?;
            if found == dtype {
                tensors.push(bytes);
                continue;
            }
            let made = to_bytes(dtype, &floats(found, &bytes));
            origin.check_finite(&**set, dtype, &made, |at| floats(found, &bytes)[at])?;
            tensors.push(made);
        }
        let bytes = match &self.arrange {
            Arrange::Compute(compute) => {
                let numbers = tensors.iter().map(|bytes| floats(dtype, bytes)).collect();
                to_bytes(dtype, &compute(numbers))
            }
            Arrange::Same => joined(tensors),
            Arrange::Transposed => {
                let [inputs, outputs] = self.shape[..] else { return Ok((dtype, joined(tensors))) };
                transposed(&joined(tensors), inputs, outputs, size_of_dtype(dtype))
            }
            Arrange::Gather(index) => {
                let count = self.shape.iter().product();
                gathered(&joined(tensors), count, size_of_dtype(dtype), index)
            }
        };
        Ok((dtype, bytes))
    }
}

/// Joins tensors; a single one is not copied.
fn joined(mut tensors: Vec<Vec<u8>>) -> Vec<u8> {
    if tensors.len() == 1 { tensors.remove(0) } else { tensors.concat() }
}

/// Returns the bytes of a number.
pub(super) fn size_of_dtype(dtype: Dtype) -> usize {
    match dtype {
        Dtype::F16 | Dtype::BF16 => 2,
        _ => 4,
    }
}

/// Returns `[inputs, outputs]` of `[outputs, inputs]`, tile by tile so that both sides stay in the
/// cache.
fn transposed(bytes: &[u8], inputs: usize, outputs: usize, size: usize) -> Vec<u8> {
    const TILE: usize = 64;
    let mut made = vec![0; bytes.len()];
    for top in (0..inputs).step_by(TILE) {
        for left in (0..outputs).step_by(TILE) {
            for row in top..inputs.min(top + TILE) {
                for col in left..outputs.min(left + TILE) {
                    let (to, from) = ((row * outputs + col) * size, (col * inputs + row) * size);
                    made[to..to + size].copy_from_slice(&bytes[from..from + size]);
                }
            }
        }
    }
    made
}

/// Returns `count` numbers of `size` bytes; number `i` is number `index(i)` of `bytes`.
pub fn gathered(
    bytes: &[u8],
    count: usize,
    size: usize,
    index: &dyn Fn(usize) -> usize,
) -> Vec<u8> {
    let mut made = Vec::with_capacity(count * size);
    for at in 0..count {
        let from = index(at) * size;
        made.extend_from_slice(&bytes[from..from + size]);
    }
    made
}

/// Returns the numbers of a tensor of this type.
fn floats(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    let two = || bytes.as_chunks().0.iter().map(|two| u16::from_le_bytes(*two));
    match dtype {
        Dtype::F16 => two().map(|bits| f16::from_bits(bits).to_f32()).collect(),
        Dtype::BF16 => two().map(|bits| bf16::from_bits(bits).to_f32()).collect(),
        Dtype::F64 => {
            bytes.as_chunks().0.iter().map(|eight| f64::from_le_bytes(*eight) as f32).collect()
        }
        _ => bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect(),
    }
}

/// Returns the place of the first number that is infinite or none, by the bits of its exponent.
fn first_not_finite(dtype: Dtype, bytes: &[u8]) -> Option<usize> {
    let two = |ones: u16| {
        let mut bits = bytes.as_chunks().0.iter().map(|two| u16::from_le_bytes(*two));
        bits.position(|bits| bits & ones == ones)
    };
    match dtype {
        Dtype::F16 => two(0x7c00),
        Dtype::BF16 => two(0x7f80),
        Dtype::F64 => {
            let mut all = bytes.as_chunks().0.iter().map(|eight| f64::from_le_bytes(*eight));
            all.position(|value| !value.is_finite())
        }
        _ => {
            let mut all = bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four));
            all.position(|value| !value.is_finite())
        }
    }
}

fn to_bytes(dtype: Dtype, values: &[f32]) -> Vec<u8> {
    match dtype {
        Dtype::F16 => WeightType::F16.write(values),
        Dtype::BF16 => WeightType::Bf16.write(values),
        _ => WeightType::F32.write(values),
    }
}

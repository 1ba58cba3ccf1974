//! Single operations, each in a process of its own, to find the one with which a driver crashes.

use std::process::{Command, Stdio};
use std::time::Instant;

use burn::prelude::*;
use burn::tensor::activation::softmax;

use super::worker::last_message;
use crate::device;
use crate::terminal::{Failure, failed, say};

/// The name of an operation, and the function that computes it.
type Operation = (&'static str, fn(&Device) -> f32);

/// The operations of a training step, the simplest first.
const OPERATIONS: &[Operation] = &[
    ("upload and read", |device| first(uploaded(device))),
    ("fill with a constant", |device| first(Tensor::<2>::ones([4, 8], device))),
    ("add a number", |device| first(uploaded(device) + 1.0)),
    ("add two tensors", |device| first(uploaded(device) + uploaded(device))),
    ("multiply with a broadcast row", |device| {
        first(uploaded(device) * uploaded(device).narrow(0, 0, 1))
    }),
    ("exp", |device| first(uploaded(device).exp())),
    ("square root", |device| first(uploaded(device).abs().sqrt())),
    ("copy of a transpose", |device| first(uploaded(device).transpose().reshape([4, 8]))),
    ("slice", |device| first(uploaded(device).narrow(1, 2, 4))),
    ("join", |device| first(Tensor::cat(vec![uploaded(device), uploaded(device)], 0))),
    ("sum of an axis", |device| first(uploaded(device).sum_dim(1))),
    ("sum of everything", |device| uploaded(device).sum().into_scalar::<f32>()),
    ("largest of an axis", |device| first(uploaded(device).max_dim(1))),
    ("softmax", |device| first(softmax(uploaded(device), 1))),
    ("whole numbers", |device| {
        Tensor::<1, Int>::arange(0..8, device).float().sum().into_scalar::<f32>()
    }),
    ("rows by number", |device| {
        let rows = Tensor::<1, Int>::from_data(TensorData::new(vec![2, 0, 1], [3]), device);
        first(uploaded(device).select(0, rows))
    }),
    ("fill where hidden", |device| {
        let x = uploaded(device);
        first(x.clone().mask_fill(x.greater_elem(0.5), 0.0))
    }),
    ("small product", |device| first(uploaded(device).matmul(uploaded(device).transpose()))),
    ("product of 64 x 64", |device| {
        let x = || Tensor::<2>::ones([64, 64], device);
        first(x().matmul(x()))
    }),
];

/// Uploads a tensor of shape `[4, 8]`.
fn uploaded(device: &Device) -> Tensor<2> {
    let numbers: Vec<f32> = (0..32).map(|at| at as f32 / 32.0).collect();
    Tensor::from_data(TensorData::new(numbers, [4, 8]), device)
}

/// Reads the first number of `[rows, cols]`, which waits for the device.
fn first(x: Tensor<2>) -> f32 {
    x.into_data().iter::<f32>().next().unwrap_or(f32::NAN)
}

/// Computes one operation: the work of a worker process.
pub fn work(name: &str, operation: usize) -> Result<(), Failure> {
    let device = device::open(name)?;
    let Some((_, run)) = OPERATIONS.get(operation) else { return Ok(()) };
    say!("{}", run(&device));
    Ok(())
}

/// Runs every operation on every device, and prints how it ended.
pub fn all(devices: &[String]) -> Result<(), Failure> {
    say!("| device | operation | result | s |\n| --- | --- | --- | ---: |");
    let mut crashed = 0;
    for device in devices {
        for (index, (name, _)) in OPERATIONS.iter().enumerate() {
            let start = Instant::now();
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["compare-backends", "--worker", device]);
            command.args(["--operation", &index.to_string()]);
            let output = command.stdin(Stdio::null()).output()?;
            let seconds = start.elapsed().as_secs_f64();
            let result = if output.status.success() {
                format!("gave {}", String::from_utf8_lossy(&output.stdout).trim())
            } else {
                crashed += 1;
                format!("**{}**: {}", output.status, last_message(Some(&*output.stderr)))
            };
            say!("| {device} | {name} | {result} | {seconds:.2} |");
        }
    }
    if crashed > 0 { Err(failed!("{crashed} operations failed")) } else { Ok(()) }
}

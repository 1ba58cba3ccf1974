//! Where tokens stand and whom they may attend: what every block of one forward pass shares.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use burn::prelude::*;

use crate::mask::hidden;
use crate::{KeyRanges, Precision, RotaryTables};

/// Rotary angles and mask of a batch, on the host for kernels of the CPU, and as tensors, made when
/// first asked for, for operations of the device.
///
/// ```
/// use burn::prelude::*;
/// use mm_kernels::{AttentionContext, AxisFrequency, KeyRanges, RotaryTables};
///
/// let frequencies = [0, 1].map(|axis| AxisFrequency { axis, theta: 1.0 });
/// let tables = RotaryTables::new(&frequencies, &[[0.0, 0.0], [1.0, 1.0]]);
/// let causal = KeyRanges::new(1, 2, vec![[0, 1], [0, 2]]).unwrap();
/// let context = AttentionContext::new(tables, causal, &Device::flex());
/// assert_eq!(context.hidden().dims(), [1, 1, 2, 2]);
/// ```
#[derive(Debug, Clone)]
pub struct AttentionContext {
    host: HostContext,
    device: Device,
    /// What all copies of a context share once it is made.
    tensors: Arc<DeviceContext>,
}

/// Angles and mask on the host.
#[derive(Debug, Clone)]
pub(crate) struct HostContext {
    pub tables: RotaryTables,
    pub ranges: KeyRanges,
}

/// Angles and mask on the device.
#[derive(Debug, Default)]
struct DeviceContext {
    /// Cosines and sines, `[batch, 1, tokens, pairs, 1]` each.
    angles: OnceLock<[Tensor<5>; 2]>,
    /// The first key of every query and one past the last, `[batch, 1, queries, 1]` each.
    columns: OnceLock<[Tensor<4, Int>; 2]>,
    /// `[batch, 1, queries, keys]`, `true` = hidden.
    hidden: OnceLock<Tensor<4, Bool>>,
}

impl AttentionContext {
    /// Joins the angles of all queries with the keys that they may attend.
    ///
    /// # Panics
    ///
    /// Panics unless `tables` has one token for each query of `ranges`.
    pub fn new(tables: RotaryTables, ranges: KeyRanges, device: &Device) -> Self {
        assert_eq!(tables.tokens(), ranges.batch() * ranges.queries(), "one position a query");
        let host = HostContext { tables, ranges };
        Self { host, device: device.clone(), tensors: Arc::default() }
    }

    /// Returns the angles.
    pub fn tables(&self) -> &RotaryTables {
        &self.host.tables
    }

    /// Returns the mask.
    pub fn ranges(&self) -> &KeyRanges {
        &self.host.ranges
    }

    /// Returns what kernels on the host need.
    #[cfg_attr(not(feature = "flex"), allow(dead_code))]
    pub(crate) fn host(&self) -> &HostContext {
        &self.host
    }

    /// Turns queries or keys by 32-bit angles, `[batch, heads, tokens, channels]` -> the same
    /// shape.
    pub fn rotate(&self, x: Tensor<4>, precision: Precision) -> Tensor<4> {
        let [batch, heads, tokens, channels] = x.dims();
        let pairs = precision.widen(x).reshape([batch, heads, tokens, channels / 2, 2]);
        let (even, odd) = (pairs.clone().slice_dim(4, 0..1), pairs.slice_dim(4, 1..2));
        let [cos, sin] = self.angles().clone();
        let turned_even = even.clone() * cos.clone() - odd.clone() * sin.clone();
        let turned_odd = odd * cos + even * sin;
        let turned = Tensor::cat(vec![turned_even, turned_odd], 4);
        precision.narrow(turned.reshape([batch, heads, tokens, channels]))
    }

    /// Returns the inverted mask, `[batch, 1, queries, keys]`, where `true` means hidden.
    pub fn hidden(&self) -> Tensor<4, Bool> {
        let all = || {
            let [start, end] = self.columns().clone();
            hidden(start, end, 0..self.ranges().keys())
        };
        self.tensors.hidden.get_or_init(all).clone()
    }

    /// Returns the inverted mask of some queries and keys, `[batch, 1, queries, keys]`. Only that
    /// of all is kept.
    #[cfg_attr(not(feature = "cube"), allow(dead_code))]
    pub(crate) fn hidden_part(&self, queries: Range<usize>, keys: Range<usize>) -> Tensor<4, Bool> {
        let (all_queries, all_keys) = (self.ranges().queries(), self.ranges().keys());
        if queries.len() == all_queries && keys.len() == all_keys {
            return self.hidden();
        }
        let part = |column: &Tensor<4, Int>| column.clone().narrow(2, queries.start, queries.len());
        let [start, end] = self.columns();
        hidden(part(start), part(end), keys)
    }

    fn columns(&self) -> &[Tensor<4, Int>; 2] {
        self.tensors.columns.get_or_init(|| self.ranges().columns(&self.device))
    }

    fn angles(&self) -> &[Tensor<5>; 2] {
        self.tensors.angles.get_or_init(|| {
            let HostContext { tables, ranges } = &self.host;
            let shape = [ranges.batch(), 1, ranges.queries(), tables.pairs(), 1];
            [tables.cos(), tables.sin()].map(|numbers| {
                Tensor::from_data(TensorData::new(numbers.to_vec(), shape), &self.device)
            })
        })
    }
}

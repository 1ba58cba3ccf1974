//! What the importers of transformers that only draw have in common: names behind a prefix, sizes
//! told by shapes, and plans of maps that PyTorch keeps in other layouts.

use crate::published::{Arrange, ImportError, Origin, Tensors, WeightPlan};

/// The tensors of a source below a prefix of their names.
pub(crate) struct Prefixed<'a> {
    set: &'a dyn Tensors,
    prefix: String,
}

impl<'a> Prefixed<'a> {
    /// Finds the prefix, of a few known ones, below which there is a tensor of this name.
    pub fn find(set: &'a dyn Tensors, prefixes: &[&str], known: &str) -> Option<Self> {
        let is_there = |prefix: &&&str| set.shape(&format!("{prefix}{known}")).is_some();
        let prefix = (*prefixes.iter().find(is_there)?).to_owned();
        Some(Self { set, prefix })
    }

    /// Takes all tensors, without a prefix.
    pub fn whole(set: &'a dyn Tensors) -> Self {
        Self { set, prefix: String::new() }
    }

    /// Returns the full name.
    pub fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Says whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.set.shape(&self.name(name)).is_some()
    }

    /// Returns the first of several names that is there; the first of all if none is.
    pub fn any(&self, names: &[String]) -> String {
        names.iter().find(|name| self.has(name)).unwrap_or(&names[0]).clone()
    }

    /// Returns the sizes of a tensor of so many axes.
    pub fn sizes<const N: usize>(&self, name: &str) -> Result<[usize; N], ImportError> {
        let found = self.set.shape(&self.name(name));
        let sizes = found.as_ref().and_then(|shape| <[usize; N]>::try_from(shape.as_slice()).ok());
        sizes.filter(|sizes| !sizes.contains(&0)).ok_or_else(|| ImportError::Tensor {
            path: self.set.home().to_owned(),
            name: self.name(name),
            found: found.map_or("missing".to_owned(), |shape| format!("{shape:?}")),
            wanted: format!("{N} axes, none of them empty"),
        })
    }

    /// Makes the error that a tensor's sizes do not fit together.
    pub fn misfit(&self, name: &str, wanted: impl ToString) -> ImportError {
        let found = self.set.shape(&self.name(name));
        ImportError::Tensor {
            path: self.set.home().to_owned(),
            name: self.name(name),
            found: found.map_or("missing".to_owned(), |shape| format!("{shape:?}")),
            wanted: wanted.to_string(),
        }
    }

    /// Counts the numbers `0, 1, …` for which there is a tensor.
    pub fn count(&self, name: impl Fn(usize) -> String) -> usize {
        (0..).take_while(|index| self.has(&name(*index))).count()
    }

    /// Plans a weight that is taken as it is, of another shape of as many numbers if `theirs`
    /// differs.
    pub fn taken(
        &self,
        ours: &str,
        theirs: &str,
        shape: &[usize],
        as_shape: &[usize],
    ) -> WeightPlan {
        WeightPlan {
            name: ours.to_owned(),
            shape: shape.to_vec(),
            from: vec![Origin::new(self.name(theirs), as_shape)],
            arrange: Arrange::Same,
        }
    }

    /// Plans a vector.
    pub fn vector(&self, ours: &str, theirs: &str, channels: usize) -> WeightPlan {
        WeightPlan::same(ours, self.name(theirs), &[channels])
    }

    /// Plans weight and bias of a linear map.
    pub fn linear(
        &self,
        ours: &str,
        theirs: &str,
        inputs: usize,
        outputs: usize,
    ) -> [WeightPlan; 2] {
        [self.matrix(ours, theirs, inputs, outputs), self.bias(ours, theirs, outputs)]
    }

    /// Plans the weight of a linear map.
    pub fn matrix(&self, ours: &str, theirs: &str, inputs: usize, outputs: usize) -> WeightPlan {
        let theirs = self.name(&format!("{theirs}.weight"));
        WeightPlan::linear(format!("{ours}.weight"), theirs, inputs, outputs)
    }

    /// Plans the bias of a map.
    pub fn bias(&self, ours: &str, theirs: &str, outputs: usize) -> WeightPlan {
        self.vector(&format!("{ours}.bias"), &format!("{theirs}.bias"), outputs)
    }

    /// Plans the weight of one linear map that is published as several, whose outputs stand one
    /// behind the other.
    pub fn joined_matrix(
        &self,
        ours: &str,
        theirs: &[String],
        inputs: usize,
        outputs: usize,
    ) -> WeightPlan {
        let origin =
            |name: &String| Origin::new(self.name(&format!("{name}.weight")), &[outputs, inputs]);
        WeightPlan {
            name: format!("{ours}.weight"),
            shape: vec![inputs, theirs.len() * outputs],
            from: theirs.iter().map(origin).collect(),
            arrange: Arrange::Transposed,
        }
    }

    /// Plans the biases of such maps.
    pub fn joined_bias(&self, ours: &str, theirs: &[String], outputs: usize) -> WeightPlan {
        let origin = |name: &String| Origin::new(self.name(&format!("{name}.bias")), &[outputs]);
        WeightPlan {
            name: format!("{ours}.bias"),
            shape: vec![theirs.len() * outputs],
            from: theirs.iter().map(origin).collect(),
            arrange: Arrange::Same,
        }
    }

    /// Plans the map of whole patches that is published as a convolution,
    /// `[outputs, colors, side, side]`: its inputs become rows, columns and colors of a patch, in
    /// this order.
    pub fn patch_map(
        &self,
        ours: &str,
        theirs: &str,
        colors: usize,
        side: usize,
        outputs: usize,
    ) -> WeightPlan {
        let from = move |index: usize| {
            let (input, output) = (index / outputs, index % outputs);
            let (pixel, color) = (input / colors, input % colors);
            (output * colors + color) * side * side + pixel
        };
        WeightPlan {
            name: format!("{ours}.weight"),
            shape: vec![side * side * colors, outputs],
            from: vec![Origin::new(
                self.name(&format!("{theirs}.weight")),
                &[outputs, colors, side, side],
            )],
            arrange: Arrange::Gather(Box::new(from)),
        }
    }

    /// Plans the first map of a time, `[waves, width]`: theirs takes cosines first, ours sines.
    pub fn waves_map(&self, ours: &str, theirs: &str, waves: usize, width: usize) -> WeightPlan {
        let from = move |index: usize| {
            let (wave, output) = (index / width, index % width);
            output * waves + (wave + waves / 2) % waves
        };
        WeightPlan {
            name: format!("{ours}.weight"),
            shape: vec![waves, width],
            from: vec![Origin::new(self.name(&format!("{theirs}.weight")), &[width, waves])],
            arrange: Arrange::Gather(Box::new(from)),
        }
    }
}

/// Returns the side of a square of so many patches.
pub(crate) fn side_of(patches: usize) -> Option<usize> {
    let side = patches.isqrt();
    (side > 0 && side * side == patches).then_some(side)
}

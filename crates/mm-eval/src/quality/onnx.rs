//! This module reads a [`FeatureNetwork`] from any ONNX file that takes an image. `tract` runs it.

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid;

use super::network::Fingerprint;
use super::{FeatureNetwork, Layout, NetworkSettings};
use crate::EvalError;

/// Counts the images of one run of a network whose batch may have any size.
const BATCH: usize = 4;

impl FeatureNetwork {
    /// Prepares a network from the bytes of its ONNX file.
    pub fn load(onnx: &[u8], settings: &NetworkSettings) -> Result<Self, EvalError> {
        let mut model = tract_onnx::onnx().model_for_read(&mut &*onnx).map_err(refused)?;
        let declared = declared_input(&model)?;
        let layout = layout_of(&declared, settings);
        let size = size_of(&declared, layout, settings)?;
        let batch = declared[0].unwrap_or(BATCH);
        if let Some(name) = &settings.output {
            model = with_output(model, name)?;
        }
        let [width, height] = size;
        let shape = match layout {
            Layout::Nchw => [batch, 3, height, width],
            Layout::Nhwc => [batch, height, width, 3],
        };
        let plan = model
            .with_input_fact(0, f32::fact(shape).into())
            .and_then(InferenceModel::into_optimized)
            .map_err(refused)?;
        let dim = dim_of(&plan, batch)?;
        let plan = plan.into_runnable().map_err(refused)?;
        let run = move |numbers: Vec<f32>| -> TractResult<Vec<f32>> {
            let input = Tensor::from_shape(&shape, &numbers)?;
            let outputs = plan.run(tvec![input.into_tvalue()])?;
            let output = outputs[0].cast_to::<f32>()?.into_owned();
            Ok(output.to_plain_array_view::<f32>()?.iter().copied().collect())
        };
        let run = Box::new(move |numbers| run(numbers).map_err(refused));
        let mean = settings.mean.unwrap_or([127.5; 3]);
        let scale = settings.scale.unwrap_or([127.5; 3]);
        if !mean.iter().all(|mean| mean.is_finite()) {
            let (found, wanted) = (format!("{mean:?}"), "finite numbers");
            return Err(EvalError::Setting { field: "mean", found, wanted });
        }
        if !scale.iter().all(|scale| scale.is_normal()) {
            let (found, wanted) = (format!("{scale:?}"), "finite numbers that are not 0");
            return Err(EvalError::Setting { field: "scale", found, wanted });
        }
        let made_by = format!("{size:?} {mean:?} {scale:?} {layout:?} {:?}", settings.output);
        let fingerprint = Fingerprint::default().bytes(onnx).bytes(made_by.as_bytes());
        Ok(Self { size, mean, scale, layout, batch, dim, fingerprint, run })
    }
}

/// Returns the sides of the only input, as far as the file fixes them.
fn declared_input(model: &InferenceModel) -> Result<[Option<usize>; 4], EvalError> {
    let wanted = || "one of 32-bit floats with the axes batch, colors, height and width".to_owned();
    let inputs = model.inputs.len();
    if inputs != 1 {
        let found = format!("{inputs} tensors");
        return Err(EvalError::Input { found, wanted: wanted() });
    }
    let fact = model.input_fact(0).map_err(refused)?;
    let float = fact.datum_type.concretize().is_none_or(|kind| kind == f32::datum_type());
    let sides: Vec<Option<usize>> = fact
        .shape
        .dims()
        .map(|side| usize::try_from(side.concretize()?.to_i64().ok()?).ok())
        .collect();
    let open = fact.shape.rank().concretize().is_none();
    match (<[Option<usize>; 4]>::try_from(sides), open) {
        (Ok(sides), _) if float => Ok(sides),
        (_, true) if float => Ok([None; 4]),
        _ => Err(EvalError::Input { found: format!("{fact:?}"), wanted: wanted() }),
    }
}

/// Returns the order of the input that the settings give, or else the one that the file shows.
fn layout_of(declared: &[Option<usize>; 4], settings: &NetworkSettings) -> Layout {
    let colors_last = declared[3] == Some(3) && declared[1] != Some(3);
    settings.layout.unwrap_or(if colors_last { Layout::Nhwc } else { Layout::Nchw })
}

/// Returns the width and height of images that both the file and the settings allow.
fn size_of(
    declared: &[Option<usize>; 4],
    layout: Layout,
    settings: &NetworkSettings,
) -> Result<[usize; 2], EvalError> {
    let [_, one, two, three] = *declared;
    let (colors, height, width) = match layout {
        Layout::Nchw => (one, two, three),
        Layout::Nhwc => (three, one, two),
    };
    let open = || EvalError::Setting {
        field: "size",
        found: "not given".to_owned(),
        wanted: "width and height, as the ONNX file leaves them open",
    };
    let size = match (settings.size, width, height) {
        (Some(size), ..) => size,
        (None, Some(width), Some(height)) => [width, height],
        (None, ..) => return Err(open()),
    };
    let agrees = |declared: Option<usize>, wanted| declared.is_none_or(|side| side == wanted);
    let fits = agrees(colors, 3) && agrees(width, size[0]) && agrees(height, size[1]);
    if !fits || size.contains(&0) {
        let side = |side: &Option<usize>| side.map_or("any".to_owned(), |side| side.to_string());
        let found: Vec<String> = declared.iter().map(side).collect();
        let [width, height] = size;
        let wanted = match layout {
            Layout::Nchw => format!("[any, 3, {height}, {width}] (nchw)"),
            Layout::Nhwc => format!("[any, {height}, {width}, 3] (nhwc)"),
        };
        return Err(EvalError::Input { found: format!("[{}]", found.join(", ")), wanted });
    }
    Ok(size)
}

fn with_output(mut model: InferenceModel, name: &str) -> Result<InferenceModel, EvalError> {
    let label = |outlet: &OutletId| match model.outlet_label(*outlet) {
        Some(label) => label.to_owned(),
        None => model.node(outlet.node).name.clone(),
    };
    let Some(outlet) = model.outputs.iter().find(|outlet| label(outlet) == name).copied() else {
        let known = model.outputs.iter().map(|outlet| format!("`{}`", label(outlet)));
        let known = known.collect::<Vec<_>>().join(", ");
        return Err(EvalError::Output { found: name.to_owned(), known });
    };
    model.outputs = vec![outlet];
    Ok(model)
}

/// Returns the number of features of an image in the first output.
fn dim_of(plan: &TypedModel, batch: usize) -> Result<usize, EvalError> {
    let fact = plan.output_fact(0).map_err(refused)?;
    let sides = fact.shape.as_concrete().unwrap_or_default();
    match sides {
        [first, rest @ ..] if *first == batch && rest.iter().product::<usize>() > 0 => {
            Ok(rest.iter().product())
        }
        _ => Err(EvalError::Network {
            why: format!("its output is {:?}, wanted [{batch}, features]", fact.shape),
        }),
    }
}

/// Returns an error of the reader with its causes on one line.
fn refused(why: TractError) -> EvalError {
    EvalError::Network { why: format!("{why:#}") }
}

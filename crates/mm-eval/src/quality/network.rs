//! [`FeatureNetwork`]: any ONNX network that takes a picture, run by `tract` on all cores.

use mm_patch::Image;
use rayon::prelude::*;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid;

use super::fingerprint::Fingerprint;
use super::{Features, Layout, NetworkSettings, QualityError, resized};

/// Pictures of one run of a network whose batch may have any size.
const BATCH: usize = 4;

/// A network that makes features of pictures.
pub struct FeatureNetwork {
    size: [usize; 2],
    mean: [f32; 3],
    scale: [f32; 3],
    layout: Layout,
    batch: usize,
    dim: usize,
    fingerprint: Fingerprint,
    /// Numbers of a batch to its features.
    run: Box<dyn Fn(Vec<f32>) -> TractResult<Vec<f32>> + Send + Sync>,
}

impl std::fmt::Debug for FeatureNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { size, layout, batch, dim, .. } = self;
        write!(f, "FeatureNetwork {{ {size:?} {layout:?}, {batch} together, {dim} features }}")
    }
}

impl FeatureNetwork {
    /// Prepares a network from the bytes of its ONNX file.
    pub fn load(onnx: &[u8], settings: &NetworkSettings) -> Result<Self, QualityError> {
        let mut model = tract_onnx::onnx().model_for_read(&mut &*onnx).map_err(refused)?;
        let declared = declared_input(&model)?;
        let (layout, size) = input_of(&declared, settings)?;
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
        let (mean, scale) =
            (settings.mean.unwrap_or([127.5; 3]), settings.scale.unwrap_or([127.5; 3]));
        if !mean.iter().all(|mean| mean.is_finite()) {
            let (found, wanted) = (format!("{mean:?}"), "finite numbers");
            return Err(QualityError::Setting { field: "mean", found, wanted });
        }
        if !scale.iter().all(|scale| scale.is_normal()) {
            let found = format!("{scale:?}");
            let wanted = "finite numbers that are not 0";
            return Err(QualityError::Setting { field: "scale", found, wanted });
        }
        let made_by = format!("{size:?} {mean:?} {scale:?} {layout:?} {:?}", settings.output);
        let fingerprint = Fingerprint::new().bytes(onnx).bytes(made_by.as_bytes());
        Ok(Self { size, mean, scale, layout, batch, dim, fingerprint, run: Box::new(run) })
    }

    /// Features of a picture.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// A hash of the network, its settings and the pictures: equal hashes mean equal features.
    pub fn made_by(&self, images: &[Image]) -> u64 {
        self.fingerprint.images(images.iter()).finish()
    }

    /// Features of every picture, in batches spread over the cores.
    pub fn features(&self, images: &[Image]) -> Result<Features, QualityError> {
        let batches = images.par_chunks(self.batch).map(|images| {
            let mut numbers: Vec<f32> = images.iter().flat_map(|image| self.input(image)).collect();
            numbers.resize(numbers.len() / images.len() * self.batch, 0.0); // the last batch may be short
            let mut features = (self.run)(numbers).map_err(refused)?;
            features.truncate(images.len() * self.dim);
            Ok(features)
        });
        let batches = batches.collect::<Result<Vec<_>, QualityError>>()?;
        Features::new(self.dim, batches.concat())
    }

    /// The numbers of one picture, in the network's order.
    fn input(&self, image: &Image) -> Vec<f32> {
        let [width, height] = self.size;
        let mut pixels = resized(image, width, height);
        for (at, number) in pixels.iter_mut().enumerate() {
            *number = (*number - self.mean[at % 3]) / self.scale[at % 3];
        }
        match self.layout {
            Layout::Nhwc => pixels,
            Layout::Nchw => {
                (0..3).flat_map(|color| pixels.iter().skip(color).step_by(3).copied()).collect()
            }
        }
    }
}

/// The sides of the only input, as far as the file fixes them.
fn declared_input(model: &InferenceModel) -> Result<[Option<usize>; 4], QualityError> {
    let wanted = || "one of 32-bit floats with the axes batch, colors, height and width".to_owned();
    let inputs = model.inputs.len();
    if inputs != 1 {
        let found = format!("{inputs} tensors");
        return Err(QualityError::Input { found, wanted: wanted() });
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
        _ => Err(QualityError::Input { found: format!("{fact:?}"), wanted: wanted() }),
    }
}

/// The order and size of pictures that both the file and the settings agree to.
fn input_of(
    declared: &[Option<usize>; 4],
    settings: &NetworkSettings,
) -> Result<(Layout, [usize; 2]), QualityError> {
    let colors_at = |axis: usize| declared[axis] == Some(3);
    let layout = settings.layout.unwrap_or(match colors_at(3) && !colors_at(1) {
        true => Layout::Nhwc,
        false => Layout::Nchw,
    });
    let (colors, [width, height]) = match layout {
        Layout::Nchw => (declared[1], [declared[3], declared[2]]),
        Layout::Nhwc => (declared[3], [declared[2], declared[1]]),
    };
    let open = || QualityError::Setting {
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
        return Err(QualityError::Input { found: format!("[{}]", found.join(", ")), wanted });
    }
    Ok((layout, size))
}

fn with_output(mut model: InferenceModel, name: &str) -> Result<InferenceModel, QualityError> {
    let label = |outlet: &OutletId| match model.outlet_label(*outlet) {
        Some(label) => label.to_owned(),
        None => model.node(outlet.node).name.clone(),
    };
    let Some(outlet) = model.outputs.iter().find(|outlet| label(outlet) == name).copied() else {
        let known = model.outputs.iter().map(|outlet| format!("`{}`", label(outlet)));
        let known = known.collect::<Vec<_>>().join(", ");
        return Err(QualityError::Output { found: name.to_owned(), known });
    };
    model.outputs = vec![outlet];
    Ok(model)
}

/// Numbers of a picture in the first output.
fn dim_of(plan: &TypedModel, batch: usize) -> Result<usize, QualityError> {
    let fact = plan.output_fact(0).map_err(refused)?;
    let sides = fact.shape.as_concrete().unwrap_or_default();
    match sides {
        [first, rest @ ..] if *first == batch && rest.iter().product::<usize>() > 0 => {
            Ok(rest.iter().product())
        }
        _ => Err(QualityError::Network {
            why: format!("its output is {:?}, wanted [{batch}, features]", fact.shape),
        }),
    }
}

/// An error of the reader and its causes on one line.
fn refused(why: TractError) -> QualityError {
    QualityError::Network { why: format!("{why:#}") }
}

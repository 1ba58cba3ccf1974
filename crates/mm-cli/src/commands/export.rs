//! `mm export`: a model's weights for elsewhere.

use mm_model::folder::write_atomic;
use mm_model::keras::{swap_red_and_blue, write};
use mm_model::parameters::weights_of;

use super::load_on;
use crate::args::{ExportArgs, ExportFormat};
use crate::device;
use crate::output::free;
use crate::report::{Failure, say, tell};

pub fn run(args: &ExportArgs) -> Result<(), Failure> {
    let ExportFormat::KerasDdpm { model, out, bgr, force } = &args.format;
    free(out, *force)?;
    let checkpoint = load_on(model, &device::open("auto")?)?;
    let mut weights = weights_of(&checkpoint.model);
    if *bgr {
        swap_red_and_blue(&mut weights);
    }
    let (file, left_out) = write(&checkpoint.config, &weights).map_err(|why| {
        let said = format!("cannot export `{}` as a network of ddpm-gau.py", model.display());
        Failure::failed(anyhow::Error::new(why).context(said))
    })?;
    write_atomic(out, &file)?;
    for name in left_out {
        tell!("left out `{name}`: Keras's network has images alone and no place for text");
    }
    say!("{}", out.display());
    Ok(())
}

//! Behaviour of the whole library, in one test binary.

mod ahead; // steps that are read late end where steps do that are read at once
mod checkpoint; // a model folder round-trips; a wrong or truncated file is named
mod codec; // codecs learn, resume, follow their cells, and their folders are measured
mod common; // the tiny recipe that the others share
mod corpus; // every file of the fuzzing corpora goes through its parser
mod data; // mixed data: ranks, packing, text alone, images of several sizes
mod finetune; // imported networks learn as in PyTorch, step by step
#[path = "fuzz/src/lib.rs"]
mod fuzz;
mod generate; // cached = uncached, seeds, the grammar of sequences
mod golden; // prediction, loss and gradients of Su Jianlin's own layers
mod golden_optimizer;
mod hf; // Su Jianlin's optimizer, average and rate
mod image_only; // images without text: trained, resumed, drawn
mod imported; // tiny published networks that train on
mod jpeg; // JPEG files of every layout give the pixels of Pillow or are refused
mod learn; // the loss falls and a small set is learned by heart
mod networks; // U-ViT, DiT, U-Net and the closing convolution learn, with the right gradients
mod pack; // packed rows = rows computed one by one
mod plan; // planned parameters and memory
mod precision; // blocks that multiply in 16 bits
mod quality; // features, FID and KID against NumPy and SciPy
mod ranks; // several ranks train as one process does
mod recipe; // what is refused is named by its field
mod resume; // N steps = k steps, a checkpoint, N - k steps, bit for bit
mod tune; // fine-tuning, freezing, adapters, averages; turns and recomputation change no bit
mod tune_imported; // freezing and adapters of published networks
mod watch; // held-out measurements, the best checkpoint, patience, roll-back

//! A run that is killed at random moments, asked to stop, or left without space ends with the bits
//! of one that was not.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{QUICK, text};

/// Steps of a run here, with a checkpoint after every second.
const STEPS: &str = "40";
/// Kills in all.
const KILLS: usize = 100;

/// The command of a run into `out`, or of its continuation where `out` holds a run already; what it
/// says is added to a file.
fn command(out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mm"));
    command.args(["train", "--device", "flex", "--out", out.to_str().unwrap()]);
    if out.join("recipe.toml").exists() {
        command.arg("--resume");
    } else {
        command.arg("glyphs").args(&QUICK[..QUICK.len() - 1]).arg(STEPS);
        command.args(["--set", "run.checkpoint_every=2", "--set", "run.sample_every=1000"]);
    }
    let said = out.with_extension("said");
    let said = fs_err::OpenOptions::new().create(true).append(true).open(said).unwrap();
    command.stdin(Stdio::null()).stderr(said.into_file());
    command
}

/// Runs to the end.
fn finish(out: &Path) {
    let status = command(out).status().unwrap();
    assert!(status.success(), "{}", fs_err::read_to_string(out.with_extension("said")).unwrap());
}

/// Everything that a run ends with, except names and times that differ from run to run.
fn ending(run: &Path) -> Vec<Vec<u8>> {
    let files = [
        "checkpoints/step-000000040/average.safetensors",
        "checkpoints/step-000000038/average.safetensors",
        "model/model.safetensors",
        "samples/step-000000040.png",
        "samples/step-000000040.txt",
    ];
    files.map(|file| fs_err::read(run.join(file)).unwrap()).into()
}

/// Names in the folder of checkpoints.
fn checkpoints(run: &Path) -> Vec<String> {
    let names = fs_err::read_dir(run.join("checkpoints")).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        names.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Numbers from 0 to 1, the same at every run of the tests.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Kills a process `after` it was started, unless it ends before; says whether it was killed.
fn killed(mut process: Child, after: Duration) -> bool {
    let start = Instant::now();
    while start.elapsed() < after {
        if let Some(status) = process.try_wait().unwrap() {
            assert!(status.success());
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    process.kill().unwrap();
    !process.wait().unwrap().success()
}

#[test]
fn a_hundred_kills_at_random_moments_change_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    finish(&whole);
    let wanted = ending(&whole);
    let mut chance = Chance(7);
    let (mut kills, mut in_a_write, mut runs) = (0, 0, 0);
    let mut longest = Duration::from_millis(200); // of a life; follows the speed of the machine
    while kills < KILLS {
        runs += 1;
        let cut = folder.path().join(format!("cut-{runs}"));
        while kills < KILLS {
            let before = checkpoints(&cut);
            let process = command(&cut).spawn().unwrap();
            if !killed(process, longest.mul_f64(chance.next())) {
                break;
            }
            kills += 1;
            let after = checkpoints(&cut);
            in_a_write += usize::from(after.iter().any(|name| name.ends_with(".tmp")));
            let got_on = before.last() != after.last();
            longest = longest.mul_f64(if got_on { 0.95 } else { 1.1 });
        }
        finish(&cut);
        assert_eq!(wanted, ending(&cut), "run {runs}");
        assert!(checkpoints(&cut).iter().all(|name| !name.ends_with(".tmp")));
        let said = fs_err::read_to_string(cut.with_extension("said")).unwrap();
        assert!(!said.contains("not whole"), "{said}");
    }
    eprintln!(
        "{kills} kills over {runs} runs, {in_a_write} of them inside the writing of a checkpoint"
    );
    assert!(in_a_write > 0, "no kill fell into the writing of a checkpoint");
}

#[cfg(unix)]
#[test]
fn a_run_that_gets_sigterm_saves_ends_well_and_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    finish(&whole);
    let cut = folder.path().join("cut");
    let mut process = command(&cut).spawn().unwrap();
    while checkpoints(&cut).iter().all(|name| !name.starts_with("step-")) {
        assert!(process.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(1));
    }
    let id = process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert_eq!(process.wait().unwrap().code(), Some(0));
    let said = fs_err::read_to_string(cut.with_extension("said")).unwrap();
    let stopped = said.lines().find_map(|line| line.strip_prefix("stopped after "));
    let step: u64 = stopped.unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(step < 40, "{said}");
    assert_eq!(checkpoints(&cut).last().unwrap(), &format!("step-{step:09}"));
    finish(&cut);
    assert_eq!(ending(&whole), ending(&cut));
}

#[cfg(unix)]
#[test]
fn a_run_goes_on_after_a_full_disk_has_space_again() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    finish(&whole);
    let cut = folder.path().join("cut");
    for blocks in [96, 96] {
        // Twice: before the first checkpoint, and with a whole one that must stay.
        let kept = checkpoints(&cut);
        let said = out_of_space(&cut, blocks);
        assert!(said.contains("error: ") && said.contains("File too large"), "{said}");
        assert_eq!(checkpoints(&cut), kept);
        let process = command(&cut).spawn().unwrap();
        assert!(killed_once_saved(process, &cut));
    }
    finish(&cut);
    assert_eq!(ending(&whole), ending(&cut));
}

/// Goes on where no file may grow beyond some blocks: the writes fail as on a full disk. Gives what
/// was said.
#[cfg(unix)]
fn out_of_space(out: &Path, blocks: usize) -> String {
    let inner = command(out);
    let mut outer = Command::new("sh");
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let output = outer.args(["-c", &script]).arg(inner.get_program()).args(inner.get_args());
    let output = output.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    text(&output.stderr)
}

/// Kills a run when it has one more checkpoint than before.
#[cfg(unix)]
fn killed_once_saved(mut process: Child, out: &Path) -> bool {
    let newest = |names: Vec<String>| names.into_iter().rfind(|name| name.starts_with("step-"));
    let before = newest(checkpoints(out));
    while newest(checkpoints(out)) == before {
        assert!(process.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(1));
    }
    process.kill().unwrap();
    !process.wait().unwrap().success()
}

/// Trains into `$DISK/run` on a disk with room for one checkpoint, goes on once it has room for
/// all, and leaves a copy of the run after each, since the disk is gone with its last process.
#[cfg(target_os = "linux")]
const SMALL_THEN_LARGE: &str = r#"
    mount -t tmpfs -o size=1500k tmpfs "$DISK" || exit 77
    "$0" "$@"
    echo "code $?"
    cp -R "$DISK/run" "$DISK-full"
    mount -o remount,size=8m "$DISK"
    "$0" train --device flex --resume --out "$DISK/run" && cp -R "$DISK/run" "$DISK-whole"
"#;

/// Whether a disk of any size can be mounted here, which needs a system that lets everyone be root
/// for themselves; if not, the reason is printed.
#[cfg(target_os = "linux")]
fn mounts_disks() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let mut mount = Command::new("unshare");
    mount.args(["-rm", "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(folder.path());
    let reason = match mount.output() {
        Ok(output) if output.status.success() => return true,
        Ok(output) => text(&output.stderr),
        Err(why) => format!("`unshare` does not start: {why}"),
    };
    eprintln!("skipped, no small disk can be mounted: {}", reason.trim());
    false
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_full_costs_no_checkpoint_and_the_run_goes_on_once_there_is_room() {
    if !mounts_disks() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    finish(&whole);
    let disk = folder.path().join("disk");
    fs_err::create_dir(&disk).unwrap();
    let run = command(&disk.join("run"));
    let mut small = Command::new("unshare");
    small.args(["-rm", "sh", "-c", SMALL_THEN_LARGE]).arg(run.get_program()).args(run.get_args());
    let output = small.env("DISK", &disk).stdin(Stdio::null()).output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(text(&output.stdout), "code 1\n", "{said}");
    assert!(said.contains("error: ") && said.contains("No space left on device"), "{said}");
    assert_eq!(checkpoints(&folder.path().join("disk-full")), ["step-000000002"]);
    assert_eq!(ending(&whole), ending(&folder.path().join("disk-whole")));
}

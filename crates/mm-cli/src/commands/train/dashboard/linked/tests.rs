//! Tests of what the dashboard tells its renderer, with a renderer that records it and needs no
//! terminal.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;

use burn_train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn_train::metric::{MetricAttributes, MetricName};
use burn_train::renderer::{EvaluationName, MetricsRendererEvaluation, MetricsRendererTraining};
use expect_test::{Expect, expect};
use mm_eval::HeldOutLosses;
use mm_train::{LossValues, Speed, StepReport, Validation};

use super::*;

/// A renderer that records its calls. Like Burn's, it knows a metric only after registration.
struct Recorder {
    told: Arc<Mutex<Vec<String>>>,
    names: HashMap<MetricId, MetricName>,
}

impl Recorder {
    fn tell(&self, what: String) {
        self.told.lock().unwrap().push(what);
    }

    fn update(&self, split: &str, state: MetricState) {
        let (entry, number) = match state {
            MetricState::Generic(entry) => (entry, None),
            MetricState::Numeric(entry, number) => (entry, number),
        };
        let number = number.map_or("no number".to_owned(), |number| number.current().to_string());
        let (name, text) = (&self.names[&entry.metric_id], entry.serialized_entry.formatted);
        self.tell(format!("{split}: {name} {text} ({number})"));
    }
}

impl MetricsRendererTraining for Recorder {
    fn update_train(&mut self, state: MetricState) {
        self.update("train", state);
    }

    fn update_valid(&mut self, state: MetricState) {
        self.update("valid", state);
    }
}

impl MetricsRendererEvaluation for Recorder {
    fn update_test(&mut self, _: EvaluationName, state: MetricState) {
        self.update("test", state);
    }
}

impl TrainingProgressLogger for Recorder {
    fn start(&mut self, epochs: usize, first: usize, items: Option<usize>, label: Option<&str>) {
        self.tell(format!("start: epoch {first} of {epochs}, items {items:?}, {label:?}"));
    }

    fn update_epoch(&mut self, epoch: usize) {
        self.tell(format!("epoch {epoch}"));
    }

    fn start_split(&mut self, split: &str, items: usize) {
        self.tell(format!("split {split} of {items}"));
    }

    fn update_split(&mut self, items: usize) {
        self.tell(format!("done {items}"));
    }

    fn end_split(&mut self) {
        self.tell("split ends".to_owned());
    }

    fn end(&mut self) {
        self.tell("end".to_owned());
    }

    fn log_event_training(&mut self, event: String) {
        self.tell(format!("event {event}"));
    }
}

impl EvaluationProgressLogger for Recorder {
    fn start_global_progress(&mut self, _: usize) {}
    fn start_test(&mut self, _: &str, _: usize) {}
    fn update_test_progress(&mut self, _: usize) {}
    fn end_test(&mut self) {}
    fn end_global_progress(&mut self) {}
    fn log_event_evaluation(&mut self, _: String) {}
}

impl MetricsRenderer for Recorder {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, definition: MetricDefinition) {
        let numeric = matches!(definition.attributes, MetricAttributes::Numeric(_));
        self.tell(format!("plot {}, numeric {numeric}", definition.name));
        self.names.insert(definition.metric_id, definition.name);
    }
}

/// Checks what a dashboard with these plots tells its renderer, from step 11 to step 30.
fn check(plots: &[&'static str], acts: impl FnOnce(&mut Dashboard), wanted: Expect) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let recorder = Box::new(Recorder { told: told.clone(), names: HashMap::new() });
    let mut dashboard = Dashboard::over(recorder, Interrupter::new(), plots.to_vec(), 10..30);
    acts(&mut dashboard);
    dashboard.close();
    let told = told.lock().unwrap().iter().map(|what| format!("{what}\n")).collect::<String>();
    wanted.assert_eq(&told);
}

fn report(step: u64) -> StepReport {
    StepReport {
        step,
        loss: 1.5,
        losses: LossValues::from([("text", Some(1.0)), ("image", None)]),
        gradient: 0.25,
        lr: 0.0003,
        skipped: false,
        loss_scale: None,
        tokens: 100,
        images: 4,
        levels: None,
    }
}

fn step(report: &StepReport) -> TrainEvent<'_> {
    let (tokens_per_second, images_per_second) = (12345.6, 42.0);
    let speed = Speed {
        tokens_per_second,
        images_per_second,
        data_wait: 0.0,
        gradient_sum: None,
        gradient_bytes: None,
    };
    TrainEvent::Step { report, speed, logged: true }
}

#[test]
fn a_step_is_a_point_of_every_plot_that_has_a_number_and_moves_the_bar() {
    let acts = |dashboard: &mut Dashboard| dashboard.show(&step(&report(11)));
    let wanted = expect![[r#"
        plot Loss, numeric true
        plot Text loss, numeric true
        plot Image loss, numeric true
        plot Gradient norm, numeric true
        plot Learning rate, numeric true
        plot Tokens/s, numeric true
        plot Images/s, numeric true
        start: epoch 1 of 1, items Some(20), Some("steps 11 to 30")
        split train of 20
        train: Loss 1.5000 (1.5)
        train: Text loss 1.0000 (1)
        train: Gradient norm 0.2500 (0.25)
        train: Learning rate 3.000e-4 (0.0003)
        train: Tokens/s 12346 (12345.6)
        train: Images/s 42.0000 (42)
        done 1
        split ends
        end
    "#]];
    check(&[LOSS, TEXT, IMAGE, GRADIENT, RATE, TOKENS, IMAGES], acts, wanted);
}

#[test]
fn what_is_not_finite_is_no_point_and_the_bar_never_goes_back() {
    let acts = |dashboard: &mut Dashboard| {
        dashboard.show(&step(&StepReport { loss: f64::NAN, skipped: true, ..report(15) }));
        dashboard.show(&step(&report(12)));
    };
    let wanted = expect![[r#"
        plot Loss, numeric true
        start: epoch 1 of 1, items Some(20), Some("steps 11 to 30")
        split train of 20
        train: Loss NaN (no number)
        event Skipped
        done 5
        train: Loss 1.5000 (1.5)
        done 5
        split ends
        end
    "#]];
    check(&[LOSS], acts, wanted);
}

#[test]
fn held_out_losses_are_points_of_the_same_plots_and_files_are_counted() {
    let losses = HeldOutLosses {
        text: Some(3.0),
        bits_per_byte: Some(1.0),
        image: Some(0.005),
        documents: 8,
    };
    let found = Validation { step: 11, loss: 2.0, losses, own: std::collections::BTreeMap::new() };
    let acts = |dashboard: &mut Dashboard| {
        dashboard.show(&TrainEvent::Measured(&found, true));
        dashboard.show(&TrainEvent::Samples(Path::new("a.png")));
        dashboard.show(&TrainEvent::Saved(Path::new("b")));
    };
    let wanted = expect![[r#"
        plot Loss, numeric true
        plot Image loss, numeric true
        start: epoch 1 of 1, items Some(20), Some("steps 11 to 30")
        split train of 20
        valid: Loss 2.0000 (2)
        valid: Image loss 5.000e-3 (0.005)
        event Samples
        event Checkpoints
        split ends
        end
    "#]];
    check(&[LOSS, IMAGE], acts, wanted);
}

#[test]
fn the_key_that_stops_is_heard() {
    let stop = Interrupter::new();
    let recorder = Box::new(Recorder { told: Arc::default(), names: HashMap::new() });
    let dashboard = Dashboard::over(recorder, stop.clone(), vec![LOSS], 0..5);
    assert!(!dashboard.asks_to_stop());
    stop.stop(Some("a key"));
    assert!(dashboard.asks_to_stop());
    dashboard.close();
}

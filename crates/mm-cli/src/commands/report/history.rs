//! The content of `metrics.jsonl`: numbers over the steps of a run, and events.

use serde_json::Value;

/// The lines of a log that can be read.
#[derive(Debug, Default)]
pub struct History {
    lines: Vec<(f64, Value)>,
}

impl History {
    /// Reads every line that is a JSON object with a step. A line that was cut off is not.
    pub fn parse(text: &str) -> Self {
        let step = |line: &Value| line.get("step").and_then(Value::as_f64);
        let line = |line: &str| serde_json::from_str(line).ok();
        let lines = text.lines().filter_map(line).filter_map(|line| Some((step(&line)?, line)));
        Self { lines: lines.collect() }
    }

    /// Returns `[step, number]` of every line with a finite number at this path, such as
    /// `validation.text` or `levels.0`.
    pub fn points(&self, path: &str) -> Vec<[f64; 2]> {
        let lines = self.lines.iter();
        lines.filter_map(|(step, line)| Some([*step, number(line, path)?])).collect()
    }

    /// Returns the last number at this path.
    pub fn last(&self, path: &str) -> Option<f64> {
        self.points(path).last().map(|[_, number]| *number)
    }

    /// Returns the last step.
    pub fn step(&self) -> Option<f64> {
        self.lines.iter().map(|(step, _)| *step).reduce(f64::max)
    }

    /// Returns the steps that did not change the weights.
    pub fn skipped(&self) -> Vec<f64> {
        let skipped = |line: &Value| line.get("skipped") == Some(&Value::Bool(true));
        self.lines.iter().filter(|(_, line)| skipped(line)).map(|(step, _)| *step).collect()
    }

    /// Returns the step and the text of every event.
    pub fn events(&self) -> Vec<(f64, String)> {
        let words = |line: &Value| Some(line.get("event")?.as_str()?.to_owned());
        self.lines.iter().filter_map(|(step, line)| Some((*step, words(line)?))).collect()
    }
}

/// Returns the finite number of a line at this path, where there is one.
pub fn number(line: &Value, path: &str) -> Option<f64> {
    let pointer = format!("/{}", path.replace('.', "/"));
    line.pointer(&pointer)?.as_f64().filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cut_short_or_without_a_number_is_left_out() {
        let history = History::parse(
            "{\"step\":1,\"loss\":2.5}\n{\"step\":2,\"loss\":null,\"skipped\":true}\n\
             {\"step\":3,\"validation\":{\"text\":1.5},\"levels\":[0.1,null,0.3]}\n\
             {\"step\":3,\"event\":\"rolled back\"}\n{\"step\":4,\"lo",
        );
        assert_eq!(history.points("loss"), [[1.0, 2.5]]);
        assert_eq!(history.points("validation.text"), [[3.0, 1.5]]);
        assert_eq!(history.points("levels.2"), [[3.0, 0.3]]);
        assert!(history.points("levels.1").is_empty());
        assert_eq!((history.step(), history.skipped()), (Some(3.0), vec![2.0]));
        assert_eq!(history.events(), [(3.0, "rolled back".to_owned())]);
    }
}

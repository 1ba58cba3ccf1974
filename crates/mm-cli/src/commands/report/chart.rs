//! Curves as inline SVG, with axes of round numbers. A noisy curve is drawn thin, with its smoothed
//! curve thick.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 260.0;
/// The margins for the numbers of the axes: left, right, top, bottom.
const ROOM: [f64; 4] = [62.0, 12.0, 10.0, 26.0];
/// The number of points that are drawn of a curve; more are averaged.
const MOST_POINTS: usize = 500;

/// How a curve is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// A thin line, with the smoothed curve as a thick line.
    Noisy,
    /// A line through all points.
    Exact,
    /// A line with a dot at each point.
    Dotted,
}

/// One curve.
#[derive(Debug)]
pub struct Curve {
    /// The name in the legend.
    pub name: String,
    /// The points `[step, number]`, in the order of the steps.
    pub points: Vec<[f64; 2]>,
    /// The style of the line.
    pub look: Look,
}

/// Curves over the steps of a run.
#[derive(Debug)]
pub struct Chart<'a> {
    /// The heading.
    pub title: &'a str,
    /// The curves; those without a point are not drawn.
    pub curves: Vec<Curve>,
    /// Whether the axis is logarithmic; used only if every number is above 0.
    pub logarithmic: bool,
    /// The steps that get a red tick at the lower edge.
    pub marks: &'a [f64],
}

/// An axis: the range of its numbers, and whether it is logarithmic.
#[derive(Debug, Clone, Copy)]
struct Axis {
    from: f64,
    to: f64,
    logarithmic: bool,
}

impl Axis {
    fn over(numbers: impl Iterator<Item = f64>, logarithmic: bool) -> Self {
        let (from, to) = numbers.fold((f64::INFINITY, f64::NEG_INFINITY), |(from, to), number| {
            (from.min(number), to.max(number))
        });
        let logarithmic = logarithmic && from > 0.0;
        let (mut from, mut to) = if logarithmic { (from.log10(), to.log10()) } else { (from, to) };
        if to - from < 1e-9 * from.abs().max(1e-9) {
            let margin = from.abs().max(1.0) * 0.05;
            (from, to) = (from - margin, to + margin);
        }
        Self { from, to, logarithmic }
    }

    /// Returns the place of a number on the axis, from 0 to 1.
    fn share(&self, number: f64) -> f64 {
        let at = if self.logarithmic { number.log10() } else { number };
        (at - self.from) / (self.to - self.from)
    }

    /// Returns about eight round numbers inside the range, at most.
    fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            let decades = self.to - self.from;
            let factors: &[f64] = match decades {
                ..0.5 => &[1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0],
                0.5..2.0 => &[1.0, 2.0, 5.0],
                _ => &[1.0],
            };
            let powers = self.from.floor() as i32..=self.to.ceil() as i32;
            return powers
                .flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)))
                .filter(|tick| (-1e-9..=1.0 + 1e-9).contains(&self.share(*tick)))
                .collect();
        }
        let rough = (self.to - self.from) / 6.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
        let step = step.into_iter().find(|step| *step >= rough).unwrap_or(10.0 * power);
        let first = (self.from / step).ceil() as i64;
        (first..first + 20)
            .map(|count| count as f64 * step)
            .take_while(|tick| *tick <= self.to)
            .collect()
    }
}

impl Chart<'_> {
    /// Returns the chart as a figure, or nothing if no curve has a point.
    pub fn html(&self) -> Option<String> {
        let curves: Vec<&Curve> =
            self.curves.iter().filter(|curve| !curve.points.is_empty()).collect();
        let all = || curves.iter().flat_map(|curve| &curve.points);
        all().next()?;
        let steps = Axis::over(all().map(|point| point[0]).chain([0.0]), false);
        let numbers = Axis::over(all().map(|point| point[1]), self.logarithmic);
        let [left, right, top, bottom] = ROOM;
        let x = |step: f64| left + steps.share(step) * (WIDTH - left - right);
        let y = |number: f64| HEIGHT - bottom - numbers.share(number) * (HEIGHT - top - bottom);
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            self.title
        );
        for tick in numbers.ticks() {
            let at = y(tick);
            let _ = write!(
                svg,
                "<path class=\"grid\" d=\"M{left} {at:.1}H{:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - right,
                left - 6.0,
                at + 4.0,
                short(tick)
            );
        }
        for tick in steps.ticks() {
            let (at, under) = (x(tick), HEIGHT - 8.0);
            let _ = write!(
                svg,
                "<text x=\"{at:.1}\" y=\"{under:.1}\" text-anchor=\"middle\">{}</text>",
                short(tick)
            );
        }
        for (number, curve) in curves.iter().enumerate() {
            draw(&mut svg, curve, number, &|[step, at]| [x(step), y(at)]);
        }
        for mark in self.marks.iter().filter(|mark| steps.share(**mark) <= 1.0) {
            let _ = write!(
                svg,
                "<path class=\"mark\" d=\"M{:.1} {:.1}v-10\"/>",
                x(*mark),
                HEIGHT - bottom
            );
        }
        svg.push_str("</svg>");
        Some(format!(
            "<figure><figcaption><b>{}</b>{}</figcaption>{svg}</figure>",
            self.title,
            legend(&curves)
        ))
    }
}

/// Returns the names of the curves, each with its last number.
fn legend(curves: &[&Curve]) -> String {
    let mut text = String::new();
    for (number, curve) in curves.iter().enumerate() {
        let last = curve.points.last().map_or(String::new(), |[_, last]| short(*last));
        let _ = write!(text, " <span class=\"k c{}\">{} {last}</span>", number % 6, curve.name);
    }
    text
}

/// Draws a curve in the color of its number; `place` maps a point to coordinates of the figure.
fn draw(svg: &mut String, curve: &Curve, number: usize, place: &dyn Fn([f64; 2]) -> [f64; 2]) {
    let mut line = |points: &[[f64; 2]], kind: &str| {
        let mut path = String::new();
        for (at, point) in points.iter().enumerate() {
            let [x, y] = place(*point);
            let _ = write!(path, "{}{x:.1} {y:.1}", if at == 0 { 'M' } else { 'L' });
        }
        let _ = write!(svg, "<path class=\"l {kind} c{}\" d=\"{path}\"/>", number % 6);
    };
    let points = thinned(&curve.points);
    match curve.look {
        Look::Noisy => {
            line(&points, "thin");
            line(&smoothed(&points), "thick");
        }
        Look::Exact => line(&points, "thick"),
        Look::Dotted => {
            line(&points, "thick");
            for point in points {
                let [x, y] = place(point);
                let _ = write!(
                    svg,
                    "<circle class=\"c{}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>",
                    number % 6
                );
            }
        }
    }
}

/// Reduces a curve to [`MOST_POINTS`] points at most, which are means of equal parts.
fn thinned(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let mean = |part: &[[f64; 2]]| {
        [0, 1].map(|axis| part.iter().map(|point| point[axis]).sum::<f64>() / part.len() as f64)
    };
    points.chunks(points.len().div_ceil(MOST_POINTS).max(1)).map(mean).collect()
}

/// Replaces each number by the mean of the numbers around it, within a fiftieth of the curve on
/// both sides.
fn smoothed(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let reach = points.len() / 50;
    (0..points.len())
        .map(|at| {
            let reach = reach.min(at).min(points.len() - 1 - at);
            let near = &points[at - reach..=at + reach];
            let sum: f64 = near.iter().map(|point| point[1]).sum();
            [points[at][0], sum / near.len() as f64]
        })
        .collect()
}

/// Writes a number in about six characters at most.
pub fn short(number: f64) -> String {
    let size = number.abs();
    let trim = |text: String| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text
        }
    };
    match size {
        0.0 => "0".to_owned(),
        1e6.. => format!("{}M", trim(format!("{:.2}", number / 1e6))),
        1e4.. => format!("{}k", trim(format!("{:.1}", number / 1e3))),
        100.0.. => format!("{number:.0}"),
        1.0.. => trim(format!("{number:.2}")),
        1e-3.. => trim(format!("{number:.4}")),
        _ => format!("{number:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<[f64; 2]>, logarithmic: bool) -> Option<String> {
        let curves = vec![Curve { name: "loss".into(), points, look: Look::Exact }];
        Chart { title: "T", curves, logarithmic, marks: &[] }.html()
    }

    #[test]
    fn a_curve_goes_from_edge_to_edge_of_its_axes() {
        let html = chart(vec![[0.0, 1.0], [50.0, 10.0], [100.0, 100.0]], true).unwrap();
        assert!(html.contains("d=\"M62.0 234.0L385.0 122.0L708.0 10.0\""), "{html}");
        let html = chart(vec![[0.0, 0.0], [100.0, 10.0]], true).unwrap(); // 0 has no logarithm
        assert!(html.contains("d=\"M62.0 234.0L708.0 10.0\""), "{html}");
    }

    #[test]
    fn no_point_is_no_chart_and_one_point_is_one() {
        assert_eq!(chart(vec![], false), None);
        assert!(!chart(vec![[0.0, 0.0]], false).unwrap().contains("NaN"));
        assert!(!chart(vec![[7.0, 3.0]], true).unwrap().contains("NaN"));
    }

    #[test]
    fn ticks_are_round_numbers_within_the_range() {
        let axis = |from, to, logarithmic| Axis::over([from, to].into_iter(), logarithmic).ticks();
        assert_eq!(axis(0.0, 16000.0, false), [0.0, 5000.0, 10000.0, 15000.0]);
        assert_eq!(axis(0.3, 3.0, true), [0.5, 1.0, 2.0]);
        assert_eq!(axis(0.01, 100.0, true), [0.01, 0.1, 1.0, 10.0, 100.0]);
    }

    #[test]
    fn numbers_stay_short() {
        let found = [0.0, 1.25e7, 15300.0, 512.4, 30.147, 0.0123, 1e-5].map(short);
        assert_eq!(found, ["0", "12.5M", "15.3k", "512", "30.15", "0.0123", "1.0e-5"]);
    }
}

//! This module draws curves as an SVG image.

use anyhow::{Context, Result, ensure};
use plotters::prelude::*;

/// Is the width and height in pixels.
const SIZE: (u32, u32) = (760, 400);
const FONT: &str = "sans-serif";
/// Holds the colors of the curves. The first is wide and pale, so that one that lies on it can be
/// seen.
const COLORS: [RGBColor; 6] = [
    RGBColor(143, 184, 222),
    RGBColor(179, 38, 30),
    RGBColor(46, 125, 50),
    RGBColor(94, 53, 177),
    RGBColor(230, 145, 0),
    RGBColor(90, 90, 90),
];

/// A curve with its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// Holds curves and what stands around them.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart<'a> {
    pub title: &'a str,
    /// Names the horizontal axis.
    pub x: &'a str,
    /// Names the vertical axis.
    pub y: &'a str,
    pub curves: Vec<Curve>,
    /// Says whether the same way along x is a doubling, or a number of units.
    pub doubling: bool,
}

/// Draws a chart; its y axis begins at 0, or below the lowest point.
pub fn svg(chart: &Chart<'_>) -> Result<String> {
    let Chart { title, curves, doubling, .. } = chart;
    let place = |x: f64| if *doubling { x.max(1.0).log2() } else { x };
    let points = || curves.iter().flat_map(|curve| &curve.points);
    ensure!(
        points().all(|(x, y)| x.is_finite() && y.is_finite()),
        "`{title}` has a point that is no number"
    );
    let bounds = |numbers: &mut dyn Iterator<Item = f64>| {
        numbers.fold(None, |found: Option<(f64, f64)>, x| {
            Some(found.map_or((x, x), |(least, most)| (least.min(x), most.max(x))))
        })
    };
    let (left, right) = bounds(&mut points().map(|(x, _)| place(*x)))
        .with_context(|| format!("`{title}` has no point"))?;
    let (low, high) = bounds(&mut points().map(|(_, y)| *y)).unwrap_or_default();
    let (right, low) = (right.max(left + 1e-6), low.min(0.0));
    let high = low + 1.05 * (high - low).max(1e-9);
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut drawn = ChartBuilder::on(&root)
            .caption(title, (FONT, 17))
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(58)
            .build_cartesian_2d(left..right, low..high)?;
        let number = |x: &f64| format!("{:.0}", if *doubling { x.exp2() } else { *x });
        drawn
            .configure_mesh()
            .x_desc(chart.x)
            .y_desc(chart.y)
            .x_label_formatter(&number)
            .light_line_style(TRANSPARENT)
            .bold_line_style(RGBColor(225, 225, 225))
            .label_style((FONT, 13))
            .draw()?;
        for (index, curve) in curves.iter().enumerate() {
            let width = if index == 0 { 5 } else { 2 };
            let style = COLORS[index % COLORS.len()].stroke_width(width);
            let line = curve.points.iter().map(|(x, y)| (place(*x), *y));
            drawn
                .draw_series(LineSeries::new(line, style))?
                .label(&curve.name)
                .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 24, y)], style));
        }
        drawn
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.85))
            .border_style(RGBColor(200, 200, 200))
            .label_font((FONT, 13))
            .draw()?;
        root.present()?;
    }
    Ok(text)
}

/// Reads a table whose first column is the step, and whose others are curves.
pub fn curves(csv: &str) -> Result<Vec<Curve>> {
    let mut lines = csv.lines();
    let names = lines.next().context("the table is empty")?.split(',').skip(1);
    let mut curves: Vec<Curve> =
        names.map(|name| Curve { name: name.to_owned(), points: vec![] }).collect();
    for line in lines {
        let number = |cell: &str| cell.parse().with_context(|| format!("`{cell}` is not a number"));
        let cells: Vec<f64> = line.split(',').map(number).collect::<Result<_>>()?;
        let wanted = curves.len() + 1;
        ensure!(cells.len() == wanted, "`{line}` has not {wanted} columns");
        for (curve, cell) in curves.iter_mut().zip(&cells[1..]) {
            curve.points.push((cells[0], *cell));
        }
    }
    Ok(curves)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_behind_the_step_is_a_curve_with_its_name() {
        let curves = curves("step,flex,wgpu\n1,4,4\n2,2,2.5\n").unwrap();
        assert_eq!(curves[1], Curve { name: "wgpu".into(), points: vec![(1.0, 4.0), (2.0, 2.5)] });
        let chart = Chart { title: "losses", x: "step", y: "loss", curves, doubling: false };
        let image = svg(&chart).unwrap();
        assert!(image.contains("flex") && image.contains("wgpu") && image.contains("losses"));
    }

    #[test]
    fn a_table_that_is_not_whole_is_refused() {
        assert!(curves("").is_err());
        assert!(curves("step,flex\n1\n").is_err());
        assert!(curves("step,flex\n1,x\n").is_err());
    }

    #[test]
    fn what_has_no_place_on_paper_is_refused() {
        let of = |points| {
            let curves = vec![Curve { name: "a".into(), points }];
            svg(&Chart { title: "t", x: "x", y: "y", curves, doubling: true })
        };
        assert!(of(vec![]).is_err());
        assert!(of(vec![(1.0, f64::NAN)]).is_err());
        assert!(of(vec![(5.0, 1.0)]).is_ok());
    }
}

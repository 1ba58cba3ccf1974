//! Curves over steps, a column of a CSV table each, as one SVG picture.

use anyhow::{Context, Result, ensure};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
/// Space for the numbers at the left and below.
const LEFT: f64 = 56.0;
const BELOW: f64 = 40.0;
/// Space above for the names.
const ABOVE: f64 = 34.0;
const RIGHT: f64 = 16.0;
/// The first curve is wide and pale, so that one that lies on it can be seen.
const STROKES: [(&str, f64, &str); 4] = [
    ("#8fb8de", 6.0, "none"),
    ("#b3261e", 1.5, "none"),
    ("#2e7d32", 1.5, "6 4"),
    ("#5e35b1", 1.5, "2 3"),
];

/// A table: the names of its columns, and for each the numbers.
struct Table {
    names: Vec<String>,
    columns: Vec<Vec<f64>>,
}

/// Draws a table whose first column is the step.
pub fn svg(csv: &str, title: &str) -> Result<String> {
    let Table { names, columns } = read(csv)?;
    let (steps, curves) = columns.split_first().context("the table has no column")?;
    let most = curves.iter().flatten().copied().fold(0.0, f64::max);
    let last = steps.last().copied().context("the table has no row")?;
    let x = |step: f64| LEFT + (WIDTH - LEFT - RIGHT) * step / last;
    let y = |loss: f64| ABOVE + (HEIGHT - ABOVE - BELOW) * (1.0 - loss / most);
    let mut lines = vec![
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"13\">"
        ),
        format!("<title>{title}</title>"),
        "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>".to_owned(),
    ];
    for part in 0..=4 {
        let (loss, step) = (most * f64::from(part) / 4.0, last * f64::from(part) / 4.0);
        let (at, right) = (y(loss), WIDTH - RIGHT);
        lines.push(format!("<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#dddddd\"/>"));
        lines.push(text([LEFT - 6.0, at + 4.0], "end", &format!("{loss:.1}")));
        lines.push(text([x(step), HEIGHT - BELOW + 18.0], "middle", &format!("{step:.0}")));
    }
    lines.push(text([x(last / 2.0), HEIGHT - 6.0], "middle", "step"));
    for (index, (curve, name)) in curves.iter().zip(&names[1..]).enumerate() {
        let (colour, width, dashes) = STROKES[index % STROKES.len()];
        let stroke = format!(
            "fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" stroke-dasharray=\"{dashes}\""
        );
        let points =
            steps.iter().zip(curve).map(|(&step, &loss)| format!("{:.1},{:.1}", x(step), y(loss)));
        let points: Vec<String> = points.collect();
        lines.push(format!("<polyline points=\"{}\" {stroke}/>", points.join(" ")));
        let key = LEFT + 150.0 * index as f64;
        lines.push(format!("<path d=\"M{key} 18h28\" {stroke}/>"));
        lines.push(text([key + 36.0, 22.0], "start", name));
    }
    lines.push("</svg>\n".to_owned());
    Ok(lines.join("\n"))
}

fn text([x, y]: [f64; 2], anchor: &str, words: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>")
}

fn read(csv: &str) -> Result<Table> {
    let mut lines = csv.lines();
    let names: Vec<String> =
        lines.next().context("the table is empty")?.split(',').map(String::from).collect();
    let mut columns = vec![vec![]; names.len()];
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        ensure!(cells.len() == names.len(), "`{line}` has not {} columns", names.len());
        for (column, cell) in columns.iter_mut().zip(cells) {
            column.push(cell.parse().with_context(|| format!("`{cell}` is not a number"))?);
        }
    }
    Ok(Table { names, columns })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_behind_the_step_is_a_curve_with_its_name() {
        let picture = svg("step,flex,wgpu\n1,4,4\n2,2,2.5\n", "losses").unwrap();
        assert_eq!(picture.matches("<polyline").count(), 2);
        assert!(picture.contains(">flex</text>") && picture.contains(">wgpu</text>"));
        let bottom = HEIGHT - BELOW - (HEIGHT - ABOVE - BELOW) / 2.0; // half of the largest, at the last step
        assert!(picture.contains(&format!("{:.1},{bottom:.1}\"", WIDTH - RIGHT)), "{picture}");
    }

    #[test]
    fn a_table_that_is_not_whole_is_refused() {
        assert!(svg("", "x").is_err());
        assert!(svg("step,flex\n1\n", "x").is_err());
        assert!(svg("step,flex\n1,x\n", "x").is_err());
    }
}

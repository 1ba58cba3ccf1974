//! The page: numbers, charts, sample grids and the recipe, with a short style sheet.

use std::fmt::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::chart::{Chart, Curve, Look, short};
use super::history::History;

/// A sample grid.
#[derive(Debug)]
pub struct Grid {
    /// The step after which the grid was drawn.
    pub step: u64,
    /// The bytes of the file.
    pub png: Vec<u8>,
    /// The captions, and what the model read.
    pub text: String,
}

/// The content of a page.
#[derive(Debug)]
pub struct Page<'a> {
    /// The name of the run folder.
    pub name: &'a str,
    /// The text of the recipe.
    pub recipe: &'a str,
    /// The log.
    pub history: &'a History,
    /// The grids, the oldest first.
    pub grids: &'a [Grid],
}

const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1c1c1e;--soft:#6b6b70;--line:#e3e3e6;--back:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#ececee;--soft:#9a9aa2;--line:#37373c;--back:#17171a}}
body{font:15px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--back);max-width:1520px;margin:2rem auto;padding:0 1rem}
h1{margin:0}h2{margin:2rem 0 .5rem}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,520px),1fr));gap:1rem 2rem}
figure{margin:0}figcaption{margin-bottom:.3rem}
svg{width:100%;height:auto}svg text{font-size:11px;fill:var(--soft)}
.grid{stroke:var(--line);stroke-width:1}.mark{stroke:#d03b3b;stroke-width:2}
.l{fill:none;stroke-linejoin:round}.thin{stroke-width:1;opacity:.3}.thick{stroke-width:1.8}
.k::before{content:'';display:inline-block;width:.9em;height:.25em;margin:0 .35em .2em .6em;background:currentColor}
.c0{stroke:#2a78d6;fill:#2a78d6}.c1{stroke:#d9622b;fill:#d9622b}.c2{stroke:#2b9a66;fill:#2b9a66}
.c3{stroke:#9155c9;fill:#9155c9}.c4{stroke:#b5890a;fill:#b5890a}.c5{stroke:#c2407f;fill:#c2407f}.l{fill:none}
.k.c0{color:#2a78d6}.k.c1{color:#d9622b}.k.c2{color:#2b9a66}.k.c3{color:#9155c9}.k.c4{color:#b5890a}.k.c5{color:#c2407f}
img{max-width:100%;image-rendering:pixelated}
table{border-collapse:collapse}td,th{padding:.15rem 1.2rem .15rem 0;text-align:left;border-bottom:1px solid var(--line)}
td.n{text-align:right;font-variant-numeric:tabular-nums}
pre{overflow:auto;background:color-mix(in srgb,var(--ink) 6%,transparent);padding:.8rem;border-radius:6px;font-size:13px}
";

impl Page<'_> {
    /// Returns the page as HTML.
    pub fn html(&self) -> String {
        let name = escaped(self.name);
        let mut html = format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>{name}</title>\n\
             <style>{STYLE}</style>\n<h1>{name}</h1>\n"
        );
        html += &self.events();
        html += "<h2>Numbers</h2>\n";
        html += &self.numbers();
        html += "<h2>Curves</h2>\n<div class=\"charts\">\n";
        for chart in self.charts() {
            html += &chart;
            html.push('\n');
        }
        html += "</div>\n";
        html += &self.samples();
        let _ = write!(html, "<h2>Recipe</h2>\n<pre>{}</pre>\n</html>\n", escaped(self.recipe));
        html
    }

    fn events(&self) -> String {
        let event =
            |(step, words): (f64, String)| format!("<li>step {step}: {}</li>\n", escaped(&words));
        let events: String = self.history.events().into_iter().map(event).collect();
        if events.is_empty() { events } else { format!("<ul>\n{events}</ul>\n") }
    }

    fn curve(&self, name: &str, path: &str, look: Look) -> Curve {
        Curve { name: name.to_owned(), points: self.history.points(path), look }
    }

    fn charts(&self) -> Vec<String> {
        let (noisy, dotted) = (Look::Noisy, Look::Dotted);
        let skipped = self.history.skipped();
        let chart = |title, logarithmic, curves| {
            Chart { title, curves, logarithmic, marks: &skipped }.html()
        };
        let pair = |name: &str| {
            let held_out = format!("validation.{name}");
            vec![self.curve("training", name, noisy), self.curve("held out", &held_out, dotted)]
        };
        let levels = (0..4).map(|bin| {
            let name = format!("{}–{} % noise", bin * 25, (bin + 1) * 25);
            self.curve(&name, &format!("levels.{bin}"), noisy)
        });
        let charts = [
            chart("Loss", true, pair("loss")),
            chart("Text loss, nats per token", true, pair("text")),
            chart("Image loss, weighted squared error", true, pair("image")),
            chart("Image loss by noise level, unweighted", true, levels.collect()),
            chart(
                "Norm of the gradient",
                true,
                vec![self.curve("before clipping", "gradient", noisy)],
            ),
            chart("Learning rate", false, vec![self.curve("lr", "lr", Look::Exact)]),
            chart(
                "Tokens per second",
                false,
                vec![self.curve("tokens", "tokens_per_second", noisy)],
            ),
            chart(
                "Images per second",
                false,
                vec![self.curve("images", "images_per_second", noisy)],
            ),
        ];
        charts.into_iter().flatten().collect()
    }

    /// Returns a table of first, lowest and last numbers.
    fn numbers(&self) -> String {
        let history = self.history;
        let mut rows = String::new();
        let mut row = |name: &str, path: &str| {
            let points = history.points(path);
            let Some([_, first]) = points.first() else { return };
            let low = points.iter().min_by(|a, b| a[1].total_cmp(&b[1])).expect("one at least");
            let tail = &points[points.len() - points.len().div_ceil(20)..];
            let last = tail.iter().map(|point| point[1]).sum::<f64>() / tail.len() as f64;
            let _ = writeln!(
                rows,
                "<tr><td>{name}</td><td class=\"n\">{}</td><td class=\"n\">{} (step {})</td><td class=\"n\">{}</td></tr>",
                short(*first),
                short(low[1]),
                low[0],
                short(last)
            );
        };
        row("loss", "loss");
        row("text, nats per token", "text");
        row("image, weighted squared error", "image");
        row("held out: text", "validation.text");
        row("held out: bits per byte", "validation.bits_per_byte");
        row("held out: image", "validation.image");
        row("norm of the gradient", "gradient");
        row("share of time for summing gradients of ranks", "gradient_sum");
        let steps = history.step().unwrap_or(0.0);
        let mut text = format!("<p>{steps} steps");
        if let Some(seconds) = history.last("seconds") {
            let _ = write!(text, ", {:.1} minutes of training", seconds / 60.0);
        }
        let _ = writeln!(text, ", {} skipped steps in the log.</p>", history.skipped().len());
        if rows.is_empty() {
            return text + "<p>The run has not logged anything yet.</p>\n";
        }
        text + "<table><tr><th></th><th>first</th><th>lowest</th><th>mean of the last 5 %</th></tr>\n"
            + &rows
            + "</table>\n"
    }

    fn samples(&self) -> String {
        let mut html = String::new();
        for grid in self.grids {
            let _ = writeln!(
                html,
                "<figure><figcaption><b>Step {}</b></figcaption>\
                 <img alt=\"samples of step {0}\" src=\"data:image/png;base64,{}\"></figure>",
                grid.step,
                BASE64_STANDARD.encode(&grid.png)
            );
        }
        let Some(newest) = self.grids.last() else { return html };
        format!(
            "<h2>Samples</h2>\n<p>Each row of drawings stands above the real images of the same captions.</p>\n\
             <div class=\"charts\">\n{html}</div>\n<details><summary>Captions of step {}</summary><pre>{}</pre></details>\n",
            newest.step,
            escaped(&newest.text)
        )
    }
}

/// Escapes text so that HTML shows it as it is.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_holds_its_images_and_shows_words_as_they_are() {
        let history = History::parse(
            "{\"step\":10,\"loss\":2.0}\n{\"step\":20,\"loss\":1.0,\"gradient_sum\":0.25}\n",
        );
        let grids = [Grid { step: 20, png: vec![1, 2, 3, 4], text: "a < b".into() }];
        let page = Page { name: "r&d", recipe: "x = \"<b>\"", history: &history, grids: &grids };
        let html = page.html();
        for part in [
            "<title>r&amp;d</title>",
            "base64,AQIDBA==",
            "a &lt; b",
            "x = &quot;&lt;b&gt;&quot;",
            "20 steps",
            "<b>Loss</b>",
            "gradients of ranks</td><td class=\"n\">0.25</td>",
        ] {
            assert!(html.contains(part), "{part}");
        }
        assert!(!html.contains("http"), "the page asks for nothing outside");
    }

    #[test]
    fn a_run_that_logged_nothing_still_has_a_page() {
        let page = Page { name: "new", recipe: "", history: &History::default(), grids: &[] };
        assert!(page.html().contains("has not logged anything yet"));
        assert!(!page.html().contains("gradients of ranks"), "one rank has no such share");
    }
}

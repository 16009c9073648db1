//! A definition as a drawing: nested boxes from top to bottom.

use crate::{Definition, OutlineStep};

const WIDTH: usize = 640;
const ROW: usize = 34;
const GAP: usize = 8;
const INDENT: usize = 22;

/// Draws the outline; every step carries its path as `data-step`.
pub(crate) fn svg(definition: &Definition, marked: &[&str]) -> String {
    let outline = definition.outline();
    let height = outline.iter().map(measure).sum::<usize>() + GAP;
    let mut drawing = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         class=\"diagram\"><title>{}</title>",
        escape(definition.title())
    );
    let mut top = GAP;
    for step in &outline {
        top = draw(step, GAP, top, marked, &mut drawing);
    }
    drawing.push_str("</svg>");
    drawing
}

/// Height of a step with all that stands in it.
fn measure(step: &OutlineStep) -> usize {
    ROW + GAP + step.children.iter().map(measure).sum::<usize>()
}

fn draw(step: &OutlineStep, left: usize, top: usize, marked: &[&str], drawing: &mut String) -> usize {
    let width = WIDTH.saturating_sub(left + GAP).max(120);
    let inner: usize = step.children.iter().map(measure).sum();
    let mark = if !step.path.is_empty() && marked.contains(&step.path.as_str()) { " marked" } else { "" };
    let id = step.id.as_deref().unwrap_or_default();
    drawing.push_str(&format!(
        "<g class=\"step verb-{verb}{mark}\" data-step=\"{path}\" data-id=\"{id}\" tabindex=\"0\">\
         <title>{verb}: {title}</title>\
         <rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" rx=\"6\"/>\
         <text class=\"verb\" x=\"{x}\" y=\"{y}\">{verb}</text><text x=\"{text}\" y=\"{y}\">{short}</text>",
        verb = escape(&step.verb),
        path = escape(&step.path),
        id = escape(id),
        title = escape(&step.title),
        short = escape(&shortened(&step.title, width)),
        height = ROW + inner,
        x = left + 10,
        text = left + 96,
        y = top + 22,
    ));
    drawing.push_str("</g>");
    let mut below = top + ROW;
    for child in &step.children {
        below = draw(child, left + INDENT, below, marked, drawing);
    }
    top + ROW + inner + GAP
}

fn shortened(text: &str, width: usize) -> String {
    let most = width.saturating_sub(110) / 7;
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

use super::*;

fn read(text: &str) -> (Option<Node>, Vec<String>) {
    let mut problems = Problems::new("a.yaml", text);
    let node = parse(text, &Codes::SITE, &mut problems);
    let list = problems.into_list();
    (node, list.iter().map(|d| format!("{}:{} {} {}", d.line, d.column, d.code, d.message)).collect())
}

#[test]
fn scalars_keep_what_was_written() {
    let (node, problems) = read("a: 0012\nb: 2.50\nc: \"5\"\nd: no\ne:\n");
    let node = node.unwrap();
    assert!(problems.is_empty());
    assert_eq!(node.get("a").unwrap().as_plain(), Some("0012"));
    assert_eq!(node.get("b").unwrap().as_text(), Some("2.50"));
    assert_eq!(node.get("c").unwrap().as_plain(), None);
    assert_eq!(node.get("d").unwrap().as_plain(), Some("no"));
    assert!(node.get("e").unwrap().is_nothing());
}

#[test]
fn all_mistakes_of_a_file_are_reported_at_once() {
    let text = "title: x\ntitle: y\nwihtin: 30\nport: { nmae: 1, retry: &a 2 }\n";
    let mut problems = Problems::new("a.yaml", text);
    let node = parse(text, &Codes::SITE, &mut problems).unwrap();
    let keys = Keys::open(&node, "the file", &Codes::SITE, &mut problems).unwrap();
    keys.text("title", &mut problems);
    keys.duration("within", &mut problems);
    let port = keys.get("port").unwrap();
    let port = Keys::open(port, "a port", &Codes::SITE, &mut problems).unwrap();
    port.require_text("name", &mut problems);
    port.int("retry", &mut problems);
    port.finish(&mut problems);
    keys.finish(&mut problems);
    let shown: Vec<_> = problems
        .into_list()
        .iter()
        .map(|d| (d.line, d.column, d.code.clone(), d.help.clone().unwrap_or_default()))
        .collect();
    assert_eq!(
        shown,
        [
            (2, 1, "S005".into(), "first at line 1".into()),
            (3, 1, "S002".into(), "did you mean `within`?".into()),
            (4, 9, "S002".into(), "did you mean `name`?".into()),
            (4, 9, "S004".into(), String::new()),
            (4, 28, "S006".into(), String::new()),
        ]
    );
}

#[test]
fn text_that_is_no_yaml_is_reported_with_its_place() {
    let (node, problems) = read("a: [1, 2\nb: 3\n");
    assert!(node.is_none());
    assert_eq!(problems.len(), 1);
    assert!(problems[0].contains("S001 this is not YAML"), "{problems:?}");
}

#[test]
fn aliases_tags_and_merge_keys_are_refused() {
    let (_, problems) = read("a: &x 1\nb: *x\nc: !!str 3\n<<: { d: 1 }\n");
    assert_eq!(problems.len(), 4, "{problems:?}");
    assert!(problems.iter().all(|problem| problem.contains("S006")));
}

#[test]
fn a_duration_without_unit_is_told_from_nonsense() {
    let text = "within: 30";
    let mut problems = Problems::new("a.yaml", text);
    let node = parse(text, &Codes::SITE, &mut problems).unwrap();
    node.get("within").unwrap().duration(&Codes::SITE, &mut problems);
    assert!(problems.into_list()[0].message.contains("has no unit"));
}

/// What a text of a size is told; none when it is read.
fn told(text: &str) -> Option<String> {
    let (node, problems) = read(text);
    assert_eq!(node.is_none(), !problems.is_empty(), "{problems:?}");
    assert!(problems.len() <= 1, "{problems:?}");
    problems.into_iter().next()
}

#[test]
fn a_file_is_read_up_to_its_limits_and_refused_above_them_with_the_place() {
    let sized = |bytes: usize| format!("a: {}\n", "x".repeat(bytes - 4));
    assert_eq!(told(&sized(read::BYTES_MAX)), None);
    for bytes in [read::BYTES_MAX + 1, 100 * read::BYTES_MAX] {
        assert!(told(&sized(bytes)).unwrap().contains("at most 512 KiB"), "{bytes}");
    }
    // The list itself is one more.
    let listed = |nodes: usize| "- x\n".repeat(nodes - 1);
    assert_eq!(told(&listed(read::NODES_MAX)), None);
    for nodes in [read::NODES_MAX + 1, 6 * read::NODES_MAX] {
        let told = told(&listed(nodes)).unwrap();
        assert!(told.starts_with("20000:3 ") && told.contains("at most 20000 keys and values"), "{told}");
    }
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(told(&nested(read::DEPTH_MAX + 1)), None);
    assert!(told(&nested(read::DEPTH_MAX + 2)).unwrap().contains("deeper than 40 levels"));
    // Far above it is the parser that refuses first.
    let far = told(&nested(100 * read::DEPTH_MAX)).unwrap();
    assert!(far.contains("recursion limit"), "{far}");
}

use super::*;

#[test]
fn facts_checked_by_hand_are_there() {
    let v25 = Version::find("2.5").unwrap();
    for (event, structure) in [("A04", "ADT_A01"), ("A13", "ADT_A01"), ("A31", "ADT_A05"), ("A40", "ADT_A39")]
    {
        assert_eq!(v25.structure_of("ADT", event), Some(structure));
    }
    assert_eq!(v25.structure_of("SIU", "S13"), Some("SIU_S12"));
    let pid3 = v25.segment("PID").unwrap().element(3).unwrap();
    assert_eq!(
        (pid3.datatype(), pid3.optionality(), pid3.repetitions_max()),
        ("CX", Optionality::Required, None)
    );
    assert_eq!(pid3.length_max(), Some(250));
    let counts = |id: &str, names: &[&str]| -> Vec<usize> {
        let version = |name: &&str| Version::find(name).unwrap();
        names.iter().map(|name| version(name).segment(id).unwrap().count()).collect()
    };
    assert_eq!(counts("MSH", &["2.3", "2.3.1", "2.4", "2.6"]), [19, 20, 21, 25]);
    assert_eq!(counts("ERR", &["2.4", "2.5"]), [1, 12]);
    let obx11 = v25.segment("OBX").unwrap().element(11).unwrap();
    assert_eq!((obx11.datatype(), obx11.table()), ("ID", Some("0085")));
    assert_eq!(v25.datatype("CX").unwrap().count(), 10);
    assert!(v25.datatype("ST").is_none());
    assert!(v25.codes("0001").unwrap().contains("F"));
    assert!(!v25.codes("0001").unwrap().contains("Q"));
    assert_eq!(table("0001").unwrap().meaning("F"), Some("Female"));
    assert!(!table("0001").unwrap().is_hl7());
}

#[test]
fn every_fact_of_every_version_can_be_read() {
    let mut counted = 0;
    for version in Version::all() {
        for name in version.structures() {
            let mut open: Vec<Node> = version.structure(name).unwrap().nodes().collect();
            assert!(!open.is_empty(), "{name}");
            while let Some(node) = open.pop() {
                counted += node.name().len();
                open.extend(node.nodes().filter(|_| node.kind() != Kind::Segment));
            }
        }
        for id in version.segments() {
            for (_, element) in version.segment(id).unwrap().elements() {
                counted += element.name().len() + element.datatype().len();
                element.table().and_then(|table| version.codes(table)).map(|codes| codes.iter().count());
            }
        }
    }
    assert!(counted > 100_000);
}

#[test]
fn an_unknown_version_is_read_by_the_nearest_older_one() {
    for (name, nearest) in
        [("2.5.2", "2.5.1"), ("9.9", "2.8.2"), ("", "2.1"), ("2.9", "2.8.2"), ("2.0", "2.1")]
    {
        assert_eq!(Version::nearest(name).name(), nearest);
    }
}

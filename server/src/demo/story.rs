//! What happens at Northgate Hospital, about once a second. Everybody and everything in it is made up.

use chrono::{DateTime, Utc};

/// A patient of the made-up hospital.
#[derive(Clone, Debug)]
pub(crate) struct Patient {
    number: u32,
    family: &'static str,
    given: &'static str,
    birth: String,
    sex: &'static str,
    ward: &'static str,
}

/// A test that order entry can order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Test {
    pub(crate) code: &'static str,
    pub(crate) name: &'static str,
    loinc: &'static str,
    unit: &'static str,
    range: &'static str,
    /// Ordinary values, and one that the hospital's rules call critical.
    values: [&'static str; 5],
    critical: Option<&'static str>,
}

const FAMILIES: [&str; 16] = [
    "Aldermark",
    "Birchwater",
    "Coldbrook",
    "Dunmere",
    "Elmsworth",
    "Fennimore",
    "Goldthorn",
    "Harrowgate",
    "Ivorsen",
    "Juniperus",
    "Kestrelby",
    "Larkspurr",
    "Mosswick",
    "Nettlefold",
    "Oakhurstt",
    "Pennywhistle",
];
const GIVEN: [(&str, &str); 12] = [
    ("Testa", "F"),
    ("Samplo", "M"),
    ("Demetra", "F"),
    ("Fictor", "M"),
    ("Imagina", "F"),
    ("Mockard", "M"),
    ("Trialla", "F"),
    ("Exemplus", "M"),
    ("Dummia", "F"),
    ("Placeho", "M"),
    ("Synthea", "F"),
    ("Protoby", "M"),
];
/// Instants carry their offset, so that a reader in any zone knows when it was.
pub(super) const INSTANT: &str = "%Y%m%d%H%M%S+0000";

const WARDS: [&str; 3] = ["4A", "4B", "ICU"];

/// Cheap tests; what comes often.
const EVERYDAY: [Test; 4] = [
    Test {
        code: "K",
        name: "Potassium",
        loinc: "2823-3",
        unit: "mmol/L",
        range: "3.5-5.1",
        values: ["3.9", "4.1", "4.4", "4.8", "5.0"],
        critical: Some("6.9"),
    },
    Test {
        code: "GLU",
        name: "Glucose",
        loinc: "2345-7",
        unit: "mmol/L",
        range: "3.9-7.8",
        values: ["4.8", "5.1", "5.6", "6.3", "7.0"],
        critical: Some("2.1"),
    },
    Test {
        code: "CRP",
        name: "C-reactive protein",
        loinc: "1988-5",
        unit: "mg/L",
        range: "0-5",
        values: ["1", "3", "12", "28", "4"],
        critical: None,
    },
    Test {
        code: "HB",
        name: "Haemoglobin",
        loinc: "718-7",
        unit: "g/dL",
        range: "12.0-17.5",
        values: ["12.4", "13.1", "14.0", "14.9", "15.6"],
        critical: None,
    },
];
/// Above the price from which somebody must approve.
const EXPENSIVE: Test = Test {
    code: "PETCT",
    name: "Tumour marker panel",
    loinc: "55180-5",
    unit: "kU/L",
    range: "0-35",
    values: ["12", "18", "22", "9", "30"],
    critical: None,
};
/// Needs two different people.
const RESTRICTED: Test = Test {
    code: "GENOME",
    name: "Whole genome",
    loinc: "86206-0",
    unit: "",
    range: "",
    values: ["no finding", "no finding", "variant of unknown significance", "no finding", "no finding"],
    critical: None,
};

const EVERY_EXPENSIVE: u64 = 47;
const EVERY_RESTRICTED: u64 = 131;
/// The first result that can be critical is, so that a visitor need not wait; then one in so many.
const EVERY_CRITICAL: u32 = 25;
const EVERY_UNKNOWN_ORDER: u64 = 71;

/// Draws what happens next; the same seed tells the same story.
pub(crate) struct Story {
    tick: u64,
    run: String,
    state: u64,
    patients: Vec<Patient>,
    /// Results of tests that can be critical.
    judged: u32,
}

/// One thing that happens.
pub(crate) enum Happening {
    Registration(String),
    Order(String),
    UnknownResult(String),
}

impl Story {
    /// `started` makes control ids and order numbers of one run differ from those of the run before.
    pub(crate) fn begin(started: DateTime<Utc>) -> Self {
        let run = started.timestamp() % 10_000_000;
        Self {
            tick: 0,
            run: format!("{run:07}"),
            state: run.unsigned_abs() | 1,
            patients: Vec::new(),
            judged: 0,
        }
    }

    fn draw(&mut self, below: usize) -> usize {
        // A linear congruential generator is plenty for a story.
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.state >> 33).unwrap_or(0) % below
    }

    /// The next thing that happens at `now`.
    pub(crate) fn next(&mut self, now: DateTime<Utc>) -> Happening {
        self.tick += 1;
        if self.patients.is_empty() || self.tick % 4 == 1 {
            let patient = self.new_patient();
            let message = self.registration(&patient, now);
            self.patients.push(patient);
            if self.patients.len() > 200 {
                self.patients.remove(0);
            }
            return Happening::Registration(message);
        }
        let index = self.draw(self.patients.len());
        let patient = self.patients[index].clone();
        if self.tick.is_multiple_of(EVERY_UNKNOWN_ORDER) {
            let order = format!("X{}{}", self.run, self.tick);
            return Happening::UnknownResult(self.result(&patient, &order, EVERYDAY[0], false, now));
        }
        let test = if self.tick == 3 || self.tick.is_multiple_of(EVERY_EXPENSIVE) {
            EXPENSIVE
        } else if self.tick == 6 || self.tick.is_multiple_of(EVERY_RESTRICTED) {
            RESTRICTED
        } else {
            let index = self.draw(EVERYDAY.len());
            EVERYDAY[index]
        };
        Happening::Order(self.order(&patient, test, now))
    }

    fn new_patient(&mut self) -> Patient {
        let (given, sex) = GIVEN[self.draw(GIVEN.len())];
        let year = 1935 + self.draw(80);
        Patient {
            number: 700_000
                + u32::try_from(self.tick % 100_000).unwrap_or(0)
                + 13 * u32::try_from(self.draw(900)).unwrap_or(0),
            family: FAMILIES[self.draw(FAMILIES.len())],
            given,
            birth: format!("{year}{:02}{:02}", 1 + self.draw(12), 1 + self.draw(28)),
            sex,
            ward: WARDS[self.draw(WARDS.len())],
        }
    }

    fn header(&self, from: &str, kind: &str, prefix: &str, version: &str, now: DateTime<Utc>) -> String {
        let at = now.format(INSTANT);
        format!(
            "MSH|^~\\&|{from}|NORTHGATE|ORDERLY|NORTHGATE|{at}||{kind}|{prefix}{}{}|P|{version}",
            self.run, self.tick
        )
    }

    fn registration(&self, patient: &Patient, now: DateTime<Utc>) -> String {
        let at = now.format(INSTANT);
        let header = self.header("REG", "ADT^A04^ADT_A01", "R", "2.4", now);
        format!("{header}\rEVN|A04|{at}\r{}\r{}\r", pid(patient), pv1(patient))
    }

    fn order(&self, patient: &Patient, test: Test, now: DateTime<Utc>) -> String {
        let at = now.format(INSTANT);
        let header = self.header("OE", "ORM^O01", "O", "2.4", now);
        let order = format!("P{}{}^OE", self.run, self.tick);
        format!(
            "{header}\r{}\r{}\rORC|NW|{order}|||||^^^{at}^^R||{at}|||2001^Lind^Anna\rOBR|1|{order}||{}^{}^L|||{at}|||||||||2001^Lind^Anna\r",
            pid(patient),
            pv1(patient),
            test.code,
            test.name
        )
    }

    /// The laboratory's result for an order that came to it; now and then a critical one.
    pub(crate) fn result_for(
        &mut self,
        order: &str,
        patient: &Patient,
        test_code: &str,
        now: DateTime<Utc>,
    ) -> String {
        self.tick += 1;
        let all = EVERYDAY.iter().chain([&EXPENSIVE, &RESTRICTED]);
        let test = *all.clone().find(|test| test.code == test_code).unwrap_or(&EVERYDAY[2]);
        let critical = test.critical.is_some() && {
            self.judged += 1;
            self.judged % EVERY_CRITICAL == 1
        };
        self.result(patient, order, test, critical, now)
    }

    fn result(
        &mut self,
        patient: &Patient,
        order: &str,
        test: Test,
        critical: bool,
        now: DateTime<Utc>,
    ) -> String {
        let at = now.format(INSTANT);
        let header = self.header("LIS", "ORU^R01^ORU_R01", "L", "2.5.1", now);
        let value = match test.critical {
            Some(value) if critical => value,
            _ => test.values[self.draw(test.values.len())],
        };
        let (kind, flag) = if test.unit.is_empty() {
            ("ST", "")
        } else {
            ("NM", flag(value, test.range, critical && test.critical.is_some()))
        };
        format!(
            "{header}\r{}\r{}\rORC|RE|{order}^OE|L{}{}^LIS\rOBR|1|{order}^OE|L{}{}^LIS|{}^{}^L|||{at}|||||||||2001^Lind^Anna||||||{at}|||F\r\
             OBX|1|{kind}|{}^{}^LN||{value}|{}|{}|{flag}|||F|||{at}\r",
            pid(patient),
            pv1(patient),
            self.run,
            self.tick,
            self.run,
            self.tick,
            test.code,
            test.name,
            test.loinc,
            test.name,
            test.unit,
            test.range
        )
    }
}

/// What a laboratory writes into OBX-8 for a value and its usual range, `3.5-5.1`.
fn flag(value: &str, range: &str, critical: bool) -> &'static str {
    let number = |text: &str| text.parse::<f64>().ok();
    let limits = range.split_once('-').and_then(|(low, high)| Some((number(low)?, number(high)?)));
    match (number(value), limits, critical) {
        (Some(value), Some((low, _)), true) if value < low => "LL",
        (Some(_), Some(_), true) => "HH",
        (Some(value), Some((low, _)), false) if value < low => "L",
        (Some(value), Some((_, high)), false) if value > high => "H",
        _ => "N",
    }
}

fn pid(patient: &Patient) -> String {
    format!(
        "PID|1||{}^^^NORTH^MR||{}^{}||{}|{}|||1 Sample Street^^Northgate",
        patient.number, patient.family, patient.given, patient.birth, patient.sex
    )
}

fn pv1(patient: &Patient) -> String {
    format!("PV1|1|O|{}^01^1||||2001^Lind^Anna", patient.ward)
}

/// Reads back the patient of an order, as the laboratory does.
pub(crate) fn patient_of(order: &orderly_hl7::Message) -> Patient {
    let find = |list: &[&'static str], value: &str, other: &'static str| {
        list.iter().copied().find(|entry| *entry == value).unwrap_or(other)
    };
    let givens: Vec<&'static str> = GIVEN.iter().map(|(given, _)| *given).collect();
    Patient {
        number: order.text("PID-3.1").parse().unwrap_or(700_000),
        family: find(&FAMILIES, &order.text("PID-5.1"), "Sample"),
        given: find(&givens, &order.text("PID-5.2"), "Testa"),
        birth: order.text("PID-7"),
        sex: find(&["F", "M"], &order.text("PID-8"), "U"),
        ward: find(&WARDS, &order.text("PV1-3.1"), "4A"),
    }
}

/// The laboratory's word that it took the order: ORR^O02 for an ORM, ORL^O22 for an OML.
pub(crate) fn confirmation(order: &orderly_hl7::Message, now: DateTime<Utc>) -> String {
    let kind = if order.text("MSH-9.1") == "OML" { "ORL^O22^ORL_O22" } else { "ORR^O02^ORR_O02" };
    format!(
        "MSH|^~\\&|LIS|NORTHGATE|ORDERLY|NORTHGATE|{}||{kind}|C{}|P|{}\rMSA|AA|{}\rPID|1||{}^^^NORTH^MR||{}^{}\rORC|OK|{}^{}|L{}^LIS\r",
        now.format(INSTANT),
        order.text("MSH-10"),
        order.text("MSH-12"),
        order.text("MSH-10"),
        order.text("PID-3.1"),
        order.text("PID-5.1"),
        order.text("PID-5.2"),
        order.text("ORC-2.1"),
        order.text("ORC-2.2"),
        order.text("ORC-2.1"),
    )
}

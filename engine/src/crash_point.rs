//! Crash points: the places at which a test lets the process end as if its machine had lost its power.
//!
//! There is one before and one after each commit, each write to a socket, each change of a file or its name that others
//! rely on, and each hand-over of a mail. A point is named after what it stands beside: `before publish` and
//! `after publish`. In a release nothing of it is left: the functions here give back what they were given.
//!
//! Two variables of the environment:
//!
//! * `ORDERLY_CRASH_POINT=after publish:3` ends the process at the third time that it comes to that point. Several points
//!   are separated by commas, and a name may end in `*`: `after publish,after deliver,* folder: *:5` ends it at the fifth time
//!   that it comes to any of them. (A name that begins with `*` stands for `before` and `after`.)
//! * `ORDERLY_CRASH_POINT_LOG=FILE` adds the name of each point to a file when the process comes to it.
//!
//! A commit without a point fails the build: `sqlx::Transaction::commit` is disallowed outside the store, whose
//! transactions have names, and `tests/crash_points.rs` reads the sources for everything else.

/// A statement that commits by itself, or a write to something outside.
pub(crate) trait Point: Future + Sized {
    /// Puts crash points before and after it.
    #[cfg(debug_assertions)]
    fn point(self, name: &'static str) -> impl Future<Output = Self::Output> + Send
    where
        Self: Send,
        Self::Output: Send;

    /// Puts crash points before and after it.
    #[cfg(not(debug_assertions))]
    fn point(self, _name: &'static str) -> Self {
        self
    }
}

impl<F: Future> Point for F {
    #[cfg(debug_assertions)]
    async fn point(self, name: &'static str) -> Self::Output
    where
        Self: Send,
        Self::Output: Send,
    {
        armed::pass("before", name);
        let output = self.await;
        armed::pass("after", name);
        output
    }
}

/// As [`Point::point`] for what is done without waiting.
#[inline]
pub(crate) fn around<T>(name: &'static str, act: impl FnOnce() -> T) -> T {
    #[cfg(not(debug_assertions))]
    let _ = name;
    #[cfg(debug_assertions)]
    armed::pass("before", name);
    let output = act();
    #[cfg(debug_assertions)]
    armed::pass("after", name);
    output
}

#[cfg(debug_assertions)]
mod armed {
    use std::io::Write as _;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static DEMAND: LazyLock<Option<Demand>> =
        LazyLock::new(|| std::env::var("ORDERLY_CRASH_POINT").ok().map(|text| Demand::read(&text)));
    static LOG: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("ORDERLY_CRASH_POINT_LOG").ok());
    static PASSED: AtomicU64 = AtomicU64::new(0);

    /// What ends the process, as the environment asks for it.
    #[derive(Debug, PartialEq, Eq)]
    struct Demand {
        names: Vec<String>,
        time: u64,
    }

    impl Demand {
        /// A text that cannot be read ends the process too: a test that asks for nothing must not pass.
        fn read(text: &str) -> Self {
            let read = text.rsplit_once(':').and_then(|(names, time)| {
                let names = names.split(',').map(|name| name.trim().to_owned()).collect();
                Some(Self { names, time: time.trim().parse().ok().filter(|time| *time > 0)? })
            });
            read.unwrap_or_else(|| panic!("ORDERLY_CRASH_POINT is NAME[,NAME..]:TIMES, not {text}"))
        }

        fn names(&self, side: &str, name: &str) -> bool {
            self.names.iter().any(|wanted| {
                let Some((wanted_side, wanted)) = wanted.split_once(' ') else { return wanted == "*" };
                let fits = match wanted.strip_suffix('*') {
                    Some(start) => name.starts_with(start),
                    None => name == wanted,
                };
                fits && (wanted_side == "*" || wanted_side == side)
            })
        }
    }

    pub(super) fn pass(side: &str, name: &str) {
        if let Some(log) = &*LOG {
            let line = format!("{side} {name}\n");
            let written = std::fs::File::options().append(true).create(true).open(log);
            written
                .and_then(|mut log| log.write_all(line.as_bytes()))
                .expect("ORDERLY_CRASH_POINT_LOG can be written");
        }
        if let Some(demand) = &*DEMAND
            && demand.names(side, name)
            && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == demand.time
        {
            // No destructor runs and nothing is flushed.
            std::process::abort();
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[track_caller]
        fn check_names(demand: &str, point: (&str, &str), expected: bool) {
            assert_eq!(Demand::read(demand).names(point.0, point.1), expected, "{demand} names {point:?}");
        }

        #[test]
        fn a_point_is_demanded_by_its_side_and_name() {
            check_names("after publish:1", ("after", "publish"), true);
            check_names("after publish:1", ("before", "publish"), false);
            check_names("after publish:1", ("after", "publish: track repeats"), false);
            check_names("after node: claim lanes,before deliver:2", ("after", "node: claim lanes"), true);
            check_names("after node: claim lanes,before deliver:2", ("before", "deliver"), true);
            check_names("* node: *:2", ("before", "node: leave"), true);
            check_names("* node: *:2", ("before", "publish"), false);
            check_names("*:2", ("before", "publish"), true);
        }

        #[test]
        fn the_number_behind_the_names_is_the_time_at_which_the_process_ends() {
            let demand = Demand::read("after node: claim lanes:12");
            assert_eq!(demand, Demand { names: vec!["after node: claim lanes".to_owned()], time: 12 });
        }

        #[test]
        #[should_panic(expected = "ORDERLY_CRASH_POINT is NAME")]
        fn a_demand_without_a_number_is_no_demand() {
            Demand::read("after publish");
        }
    }
}

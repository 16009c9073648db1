//! Pictures of every page, for looking at them: `cargo test -p orderly-tests --test browser pictures -- --ignored`
//! with the address of a running demo in `ORDERLY_PICTURES_OF` and a folder in `ORDERLY_PICTURES_TO`.

use std::path::PathBuf;

use crate::browser::Browser;

/// Who looks at what; `>` follows the first link that begins so from the page before.
const WALKS: &[(&str, &[&str])] = &[
    ("a.lind", &["/tasks", ">/tasks/06", "/tasks/history", "/me"]),
    ("s.devries", &["/tasks", ">/tasks/06", "/tasks/history"]),
    (
        "t.visser",
        &[
            "/rules",
            "/rules/policy/test-approval",
            "/rules/policy/test-approval/draft",
            "/rules/policy/test-approval/try",
            "/rules/table/critical-values",
            "/rules/codeset/test-prices",
            "/messages",
        ],
    ),
    (
        "h.nair",
        &[
            "/messages",
            "/messages?type=ORU%5ER01",
            ">/messages/06",
            "*?tab=readable",
            "*?tab=tree",
            "*?tab=raw",
            "*?tab=acknowledgments",
            "*?tab=access",
            "*?tab=custody",
        ],
    ),
    (
        "r.meyer",
        &[
            "/ops",
            "/ports",
            "/ports/send/laboratory",
            "/ports/receive/hospital/mllp",
            "/queues",
            "/suspended",
            ">/suspended/",
            ">/suspended/work/",
            "/orchestrations",
            "/instances",
            ">/instances/06",
            "/alerts",
            "/nowhere",
        ],
    ),
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "for looking at, not for judging"]
async fn pictures_of_every_page() {
    let (Ok(address), Ok(folder)) =
        (std::env::var("ORDERLY_PICTURES_OF"), std::env::var("ORDERLY_PICTURES_TO"))
    else {
        panic!("ORDERLY_PICTURES_OF and ORDERLY_PICTURES_TO name a running console and a folder");
    };
    let folder = PathBuf::from(folder);
    let dark = std::env::var_os("ORDERLY_PICTURES_DARK").is_some();
    let browser = Browser::open_at(&address).await;
    if dark {
        let features =
            serde_json::json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
        browser.devtools("Emulation.setEmulatedMedia", features).await;
    }
    browser.go("/login").await;
    for (width, shade) in [(1280, "wide"), (360, "phone")] {
        browser.picture(width, &folder.join(format!("login-{shade}.png"))).await;
    }
    for (name, walk) in WALKS {
        browser.sign_in(name).await;
        for (step, path) in walk.iter().enumerate() {
            if let Some(start) = path.strip_prefix('>') {
                let link = format!("main a[href^='{start}']");
                if !browser.has(&link).await {
                    continue;
                }
                browser.click(&link).await;
            } else if let Some(tab) = path.strip_prefix('*') {
                let here = browser.path().await;
                browser.go(&format!("{}{tab}", here.split('?').next().unwrap_or_default())).await;
            } else {
                browser.go(path).await;
            }
            for (width, shade) in [(1280, "wide"), (360, "phone")] {
                let file = folder.join(format!("{name}-{step:02}-{shade}.png"));
                browser.picture(width, &file).await;
            }
        }
    }
}

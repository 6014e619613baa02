//! A real browser, headless Chromium, and a page for it.

use std::process::{Command, Stdio};

use crate::{Folder, Nginx, output};

/// Loads a page to its end and gives its document as the browser has it then.
pub fn load(url: &str) -> String {
    load_with(&[], url)
}

/// The same from a server whose certificate nobody vouches for.
pub fn load_insecure(url: &str) -> String {
    load_with(&["--ignore-certificate-errors"], url)
}

fn load_with(options: &[&str], url: &str) -> String {
    let folder = Folder::new();
    let mut command = Command::new("chromium");
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
    ]);
    command.args(["--disable-background-networking", "--no-proxy-server", "--dump-dom"]).args(options);
    command.arg(format!("--user-data-dir={}", folder.file("profile").display())).arg(url);
    command.env("HOME", folder.path()).stdin(Stdio::null());
    String::from_utf8(output(&mut command).stdout).expect("a document is text")
}

/// Parts of the page that [`put_page`] makes.
pub const PAGE_PARTS: usize = 20;

/// Serves `/page.html`, with 5 style sheets, scripts, pictures, and pictures that are missing, and `end` behind them.
pub fn put_page(nginx: &Nginx, end: &str) {
    let mut page = "<html><body>".to_owned();
    for number in 0..PAGE_PARTS / 4 {
        let size = 1000 * (number + 1);
        nginx.put(&format!("{number}.css"), &format!("/*{}*/", "c".repeat(size)));
        nginx.put(&format!("{number}.js"), &format!("/*{}*/", "j".repeat(size)));
        nginx.put(
            &format!("{number}.svg"),
            &format!("<svg xmlns='http://www.w3.org/2000/svg'><!--{}--></svg>", "s".repeat(size)),
        );
        page += &format!("<link rel=stylesheet href={number}.css><script src={number}.js></script>");
        page += &format!("<img src={number}.svg><img src=/missing/{number}.png>");
    }
    nginx.put("page.html", &(page + end));
}

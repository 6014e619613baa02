//! Why an exchange is where it is.

/// What puts an exchange into its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Link {
    /// It is the page's document.
    Document,
    /// The Location of an exchange of the page led to it.
    Redirect,
    /// Its Referer is the page or a part of it.
    Referer,
    /// Nothing does: it is among the other requests of its client.
    None,
    /// Its Referer is one that more than one page may have sent.
    SharedReferer,
    /// Its Referer says only the origin of the page.
    RefererOrigin,
    /// Its Origin field says the origin of the page.
    Origin,
    /// Sec-Fetch-Site says that a page requested it.
    FetchSite,
    /// It requests a document, and may be a frame of the page or a separate page.
    Frame,
    /// The page was loading.
    Time,
}

impl Link {
    /// Whether it is inferred: another page of the same client may be the right one.
    pub fn is_inferred(self) -> bool {
        self >= Self::SharedReferer
    }
}

//! Lines about a connection. What all lines of a connection say is kept once ([`ConnectionInfo`](super::ConnectionInfo)),
//! but stands in each of them, between fields of their own.

/// Defines a record about a connection, and privately its line, with every field in its place. Fields of the record are
/// `own`; those that come from its `connection` are `shared`.
macro_rules! record_about_connection {
    (
        $(#[doc = $doc:literal])*
        $(#[derive($($derive:ident),*)])?
        pub struct $name:ident as $line:ident($title:literal) {
            $(#[doc = $time_doc:literal])*
            time,
            $(#[doc = $connection_doc:literal])*
            connection,
            $(
                own {$(
                    $(#[doc = $own_doc:literal])*
                    $(#[serde($($serde:tt)*)])?
                    pub $own:ident: $own_type:ty,
                )*}
                shared {$(
                    $(#[doc = $shared_doc:literal])*
                    $(#[serde($($shared_serde:tt)*)])?
                    $shared:ident: $shared_type:ty,
                )*}
            )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, Eq $($(, $derive)*)?)]
        pub struct $name {
            $(#[doc = $time_doc])*
            pub time: crate::time::Time,
            $(#[doc = $connection_doc])*
            pub connection: std::sync::Arc<crate::connection_info::ConnectionInfo>,
            $($(
                $(#[doc = $own_doc])*
                pub $own: $own_type,
            )*)*
        }

        $(#[doc = $doc])*
        #[derive(serde::Serialize, serde::Deserialize)]
        #[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = $title))]
        struct $line<'a> {
            $(#[doc = $time_doc])*
            time: crate::time::Time,
            $(#[doc = $connection_doc])*
            connection: crate::network::ConnectionId,
            $(
                $(
                    $(#[doc = $own_doc])*
                    $(#[serde($($serde)*)])?
                    $own: std::borrow::Cow<'a, $own_type>,
                )*
                $(
                    $(#[doc = $shared_doc])*
                    $(#[serde($($shared_serde)*)])?
                    $shared: $shared_type,
                )*
            )*
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let line = $line {
                    time: self.time,
                    connection: self.connection.id,
                    $(
                        $($own: std::borrow::Cow::Borrowed(&self.$own),)*
                        $($shared: crate::record::about::written!($shared of self.connection),)*
                    )*
                };
                line.serialize(serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let line = $line::deserialize(deserializer)?;
                let mut connection = crate::connection_info::ConnectionInfo::new(line.connection);
                $($(crate::record::about::read!($shared of line into connection);)*)*
                Ok(Self {
                    time: line.time,
                    connection: std::sync::Arc::new(connection),
                    $($($own: line.$own.into_owned(),)*)*
                })
            }
        }

        #[cfg(test)]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $title.into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $line::json_schema(generator)
            }
        }
    };
}

/// A field of a line from what is known of its connection.
macro_rules! written {
    (network of $connection:expr) => {
        $connection.network.map_or_else(Default::default, Into::into)
    };
    (process of $connection:expr) => {
        $connection.process.as_deref().map(std::borrow::Cow::Borrowed)
    };
    ($field:ident of $connection:expr) => {
        $connection.$field
    };
}

/// The other way round.
macro_rules! read {
    (process of $line:ident into $connection:ident) => {
        $connection.process = $line.process.map(|process| std::sync::Arc::new(process.into_owned()))
    };
    ($field:ident of $line:ident into $connection:ident) => {
        $connection.$field = $line.$field.into()
    };
}

pub(super) use {read, record_about_connection, written};

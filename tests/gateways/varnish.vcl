# One backend for each fault. {fault} is the port of its server.
vcl 4.1;
backend refused { .host = "127.0.0.1"; .port = "{refused}"; .connect_timeout = 1s; .first_byte_timeout = 1s; }
backend closing { .host = "127.0.0.1"; .port = "{closing}"; .connect_timeout = 1s; .first_byte_timeout = 1s; }
backend cutting { .host = "127.0.0.1"; .port = "{cutting}"; .connect_timeout = 1s; .first_byte_timeout = 1s; }
backend silent { .host = "127.0.0.1"; .port = "{silent}"; .connect_timeout = 1s; .first_byte_timeout = 1s; }
backend slow { .host = "127.0.0.1"; .port = "{slow}"; .connect_timeout = 1s; .first_byte_timeout = 1s; }
backend full { .host = "127.0.0.1"; .port = "{full}"; .connect_timeout = 1s; .first_byte_timeout = 1s; }
backend fine { .host = "127.0.0.1"; .port = "{fine}"; .connect_timeout = 1s; .first_byte_timeout = 1s; }
# Probed once, before the first request: a probe has a thread of its own, and what it meets while a request waits may be taken for the
# request's own attempt.
backend memory {
    .host = "127.0.0.1"; .port = "{dead}";
    .probe = { .url = "/probe"; .interval = 1h; .window = 1; .threshold = 1; .initial = 0; }
}
sub vcl_recv { return (pass); }
sub vcl_backend_fetch {
    if (bereq.url ~ "^/refused") { set bereq.backend = refused; }
    if (bereq.url ~ "^/closing") { set bereq.backend = closing; }
    if (bereq.url ~ "^/cutting") { set bereq.backend = cutting; }
    if (bereq.url ~ "^/silent") { set bereq.backend = silent; }
    if (bereq.url ~ "^/slow") { set bereq.backend = slow; }
    if (bereq.url ~ "^/full") { set bereq.backend = full; }
    if (bereq.url ~ "^/fine") { set bereq.backend = fine; }
    if (bereq.url ~ "^/memory") { set bereq.backend = memory; }
    if (bereq.url ~ "^/second") {
        if (bereq.retries == 0) { set bereq.backend = refused; } else { set bereq.backend = closing; }
    }
}
sub vcl_backend_error {
    if (bereq.url ~ "^/second" && bereq.retries == 0) { return (retry); }
}

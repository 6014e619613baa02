//! Tests of the errors of gateways.

"""What tests share: servers, drives, browsers, models and records. No test imports another test."""

//go:build tools

// Package tools names the programs that the scripts build, so that `go mod tidy` keeps what they need.
package tools

import (
	_ "github.com/rhysd/actionlint/cmd/actionlint"
	_ "github.com/summerwind/h2spec/cmd/h2spec"
	_ "google.golang.org/grpc/interop/client"
)

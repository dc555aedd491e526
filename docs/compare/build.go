package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// programs are the servers that were built for this run.
type programs struct{ muster, etcd, dragonboat, pipeline string }

// build builds muster in its own module, with the dependencies that it ships
// with, and the others in this one.
func build(ctx context.Context, checkout, work string) (programs, error) {
	bin := filepath.Join(work, "bin")
	p := programs{
		muster: filepath.Join(bin, "muster"), etcd: filepath.Join(bin, "etcd"),
		dragonboat: filepath.Join(bin, "dragonboat"), pipeline: filepath.Join(bin, "pipeline"),
	}
	if err := goBuild(ctx, checkout, p.muster, "."); err != nil {
		return p, fmt.Errorf("build muster in %s: %w", checkout, err)
	}
	// The driver talks to the client of the checkout that go.mod names.
	if err := goBuild(ctx, ".", bin+string(filepath.Separator), "./nodes/..."); err != nil {
		return p, fmt.Errorf("build the other systems (run this as go -C docs/compare run .): %w", err)
	}
	return p, nil
}

func goBuild(ctx context.Context, dir, to, what string) error {
	fmt.Fprintf(os.Stderr, "build %s\n", to)
	c := exec.CommandContext(ctx, "go", "build", "-o", to, what)
	c.Dir = dir
	c.Stdout, c.Stderr = os.Stderr, os.Stderr
	return c.Run()
}

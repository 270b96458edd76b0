package main

import (
	"encoding/json"
	"io"

	"github.com/spf13/cobra"
)

// jsonFlag adds --json.
func jsonFlag(cmd *cobra.Command) { cmd.Flags().Bool("json", false, "print JSON") }

// asJSON reports whether --json is given.
func asJSON(cmd *cobra.Command) bool {
	on, _ := cmd.Flags().GetBool("json")
	return on
}

// newEncoder returns an encoder of JSON Lines to w.
func newEncoder(w io.Writer) *json.Encoder {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e
}

// A result is the report of a verb.
type result interface{ Print(w io.Writer) error }

// printResult prints a result as text or, with --json, as an indented document.
func printResult(cmd *cobra.Command, r result) error {
	if !asJSON(cmd) {
		return r.Print(cmd.OutOrStdout())
	}
	e := newEncoder(cmd.OutOrStdout())
	e.SetIndent("", "  ")
	return e.Encode(r)
}

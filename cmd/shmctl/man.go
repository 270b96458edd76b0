package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func newMan() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the man pages",
		Long: `man writes a page for shmctl and one for each verb to DIR, which it creates. The
date in them is today's, or that of SOURCE_DATE_EPOCH.`,
		Example: "  shmctl man ~/.local/share/man/man1 && man shmctl-get",
		Args:    arguments("DIR", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o777); err != nil {
				return err
			}
			root := newRoot()
			root.DisableAutoGenTag = true
			forMan(root)
			header := doc.GenManHeader{Title: "SHMCTL", Section: "1", Source: "shmctl", Manual: "Shared-memory key/value stores"}
			if err := doc.GenManTree(root, &header, args[0]); err != nil {
				return fmt.Errorf("writing man pages: %w", err)
			}
			return nil
		},
	}
}

// marked is what Markdown would take for markup.
var marked = regexp.MustCompile("[\\\\`*_{}\\[\\]<>#~|]")

// forMan makes the help of a verb, and of those below it, the Markdown from
// which pages are made: indented lines stay as they are.
func forMan(cmd *cobra.Command) {
	var b strings.Builder
	text, code := cmd.Long, false
	if text == "" {
		text = cmd.Short
	}
	for line := range strings.Lines(text) {
		indented := strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t")
		if indented && !code {
			b.WriteByte('\n')
		}
		if code = indented; code {
			b.WriteString("    " + strings.TrimLeft(line, "\t"))
		} else {
			b.WriteString(marked.ReplaceAllString(line, `\$0`))
		}
	}
	cmd.Long = b.String()
	for _, c := range cmd.Commands() {
		forMan(c)
	}
}

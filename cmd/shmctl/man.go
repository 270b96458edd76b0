package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
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
			return interruptible(cmd, func(ctx context.Context) error {
				if err := writePages(ctx, root, args[0]); err != nil {
					return fmt.Errorf("writing man pages: %w", err)
				}
				return nil
			})
		},
	}
}

// writePages writes the page of a verb, and those of the verbs below it, to dir.
func writePages(ctx context.Context, cmd *cobra.Command, dir string) error {
	for _, c := range cmd.Commands() {
		if !c.IsAvailableCommand() || c.IsAdditionalHelpTopicCommand() {
			continue
		}
		if err := writePages(ctx, c, dir); err != nil {
			return err
		}
	}
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1"
	return writeFile(ctx, filepath.Join(dir, name), func(w io.Writer) error {
		header := doc.GenManHeader{Title: "SHMCTL", Section: "1", Source: "shmctl", Manual: "Shared-memory key/value stores"}
		var page bytes.Buffer
		if err := doc.GenMan(cmd, &header, &page); err != nil {
			return err
		}
		_, err := w.Write(bytes.ReplaceAll(page.Bytes(), []byte(`\fP[=false]`), []byte(`\fP`))) // behind flags that take no value
		return err
	})
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

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
		Long: `man writes a page for shmctl and a page for each verb to DIR, and creates DIR if
necessary. The date in the pages is that of today, or SOURCE_DATE_EPOCH.`,
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

// writePages writes the page of a verb and the pages of its subcommands to dir.
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
		text := page.Bytes()
		for _, value := range []string{"[=false]", "[=0]"} { // after flags without a value
			text = bytes.ReplaceAll(text, []byte(`\fP`+value), []byte(`\fP`))
		}
		_, err := w.Write(text)
		return err
	})
}

// marked matches characters that are markup in Markdown.
var marked = regexp.MustCompile("[\\\\`*_{}\\[\\]<>#~|]")

// forMan converts the help of a verb and of its subcommands to the Markdown from which
// cobra makes pages. Indented lines become code.
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

package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-869cc763/shmkv/cmd/shmctl/internal/text"
	"github.com/seed-869cc763/shmkv/shm"
)

// completing makes shells complete the arguments of a verb by their names in its usage
// line: as directories, as files, or not at all.
func completing(cmd *cobra.Command) {
	names := strings.Fields(cmd.Use)[1:]
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) >= len(names) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		switch strings.Trim(names[len(args)], "[]") {
		case "STORE", "A", "B", "DIR":
			return nil, cobra.ShellCompDirectiveFilterDirs
		case "FILE", "FILE|-":
			return nil, cobra.ShellCompDirectiveDefault
		case "NAME":
			return mapNames(args), cobra.ShellCompDirectiveNoFileComp
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeMap completes the value of --map.
func completeMap(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return mapNames(args), cobra.ShellCompDirectiveNoFileComp
}

// mapNames returns the names of the maps in the store of a command line. It leaves out the
// names that text.Printable quotes, because a shell would insert the quoted form.
func mapNames(args []string) (names []cobra.Completion) {
	path := os.Getenv(storeVariable)
	if len(args) > 0 {
		path = args[0]
	}
	_ = withStore(openToRead, path, func(s *shm.Store) error {
		maps, err := s.Maps()
		for _, m := range maps {
			if text.Printable([]byte(m.Name)) == m.Name {
				names = append(names, m.Name)
			}
		}
		return err
	})
	return names
}

// addCompletion adds cobra's completion verb.
func addCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	cmd, _, err := root.Find([]string{"completion"})
	if err != nil {
		panic(err)
	}
	cmd.Use = "completion SHELL"
	cmd.Short = "Write a completion script for a shell"
	cmd.Example = "  source <(shmctl completion bash)"
	var shells []string
	for _, c := range cmd.Commands() {
		shells = append(shells, c.Name())
		c.Args = arguments("no more", 0, 0)
	}
	expected := "one of " + strings.Join(shells, ", ")
	cmd.Args = arguments("SHELL, "+expected, 1, 1)
	cmd.RunE = func(_ *cobra.Command, args []string) error { // for an unknown shell
		return usagef("completion: found shell %q, expected %s", args[0], expected)
	}
}

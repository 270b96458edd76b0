package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// arguments checks the number of arguments. form names them as the usage line does.
func arguments(form string, least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || most >= 0 && len(args) > most {
			return fmt.Errorf("%s: found %d arguments, expected %s (see %s --help)", verbOf(cmd), len(args), form, cmd.CommandPath())
		}
		return nil
	}
}

const unlimited = -1

// verbOf returns the verb of a command as users type it, as in "get" or "cache get".
func verbOf(cmd *cobra.Command) string {
	return strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
}

// storeVariable is the environment variable with the store for command lines without
// STORE.
const storeVariable = "SHMKV_STORE"

// storeHelp describes how the variable applies. A command line that is complete with
// STORE means the same with and without the variable.
const storeHelp = `If the environment variable ` + storeVariable + ` is set to the directory of a store,
STORE may be left out where it is the first argument of a verb. A verb takes STORE
from the variable if there are only the arguments that must follow STORE. If there
are more, the first one is STORE. So "get KEY" and "set KEY" use the variable, but
"get A B" and "set A B" use the store A: with several keys, or with VALUE, write
"$` + storeVariable + `" as STORE.`

// storeArguments returns the store of a command line and the other arguments, of which
// there must be least to most.
func storeArguments(cmd *cobra.Command, args []string, form string, least, most int) (store string, others []string, err error) {
	if store = os.Getenv(storeVariable); store != "" && len(args) == least {
		return store, args, nil
	}
	if most != unlimited {
		most++
	}
	if err := arguments(form, 1+least, most)(cmd, args); err != nil {
		return "", nil, usageError{err}
	}
	return args[0], args[1:], nil
}

// mentionStoreVariable mentions the variable in the help of a verb whose first argument
// is STORE.
func mentionStoreVariable(cmd *cobra.Command) {
	if form := strings.Fields(cmd.Use); !cmd.Hidden && len(form) > 1 && strings.Trim(form[1], "[.]") == "STORE" {
		cmd.Long += "\n\nIf " + storeVariable + " is set, STORE may be left out: see shmctl --help."
	}
}

/**
 * Proof by histories: clients write while nodes are struck, everything they were told is recorded,
 * and a checker compares it with what is in the database at the end.
 */
@NullMarked
package io.github.repmgrjdbc.histories;

import org.jspecify.annotations.NullMarked;

/** Wires topology, monitor and connect together. Not API. */
@NullMarked
package io.github.repmgrjdbc.internal;

import org.jspecify.annotations.NullMarked;

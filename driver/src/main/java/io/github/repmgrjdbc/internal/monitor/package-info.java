/** When to look: the probes and their pace. Not API. */
@NullMarked
package io.github.repmgrjdbc.internal.monitor;

import org.jspecify.annotations.NullMarked;
